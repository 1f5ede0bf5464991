//! Tasks measured in turns.

use crate::clock::cpu_time;

/// Seconds per call of each of `tasks`, the median of many samples. The tasks take turns, so that a slow spell of the
/// machine hits them alike.
pub(crate) fn medians(tasks: &mut [&mut dyn FnMut()]) -> Vec<f64> {
    const SAMPLES: usize = 31;
    const SAMPLE: f64 = 0.004;
    let calls: Vec<u32> = tasks
        .iter_mut()
        .map(|task| {
            let mut calls = 1;
            loop {
                let took = run(*task, calls);
                if took >= SAMPLE {
                    return calls;
                }
                calls *= 2;
            }
        })
        .collect();
    let mut samples = vec![Vec::new(); tasks.len()];
    for _ in 0..SAMPLES {
        for ((task, &calls), samples) in tasks.iter_mut().zip(&calls).zip(&mut samples) {
            samples.push(run(*task, calls) / f64::from(calls));
        }
    }
    let median = |mut samples: Vec<f64>| {
        samples.sort_by(f64::total_cmp);
        samples[samples.len() / 2]
    };
    samples.into_iter().map(median).collect()
}

fn run(task: &mut dyn FnMut(), calls: u32) -> f64 {
    let start = cpu_time();
    (0..calls).for_each(|_| task());
    cpu_time() - start
}
