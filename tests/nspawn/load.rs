//! What keeps the daemon busy while it is restarted: people who ask, and a subscriber who counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gateway_cloud::subscribe::{Message, Options, Subscriber};
use gatewayd::control::{Answer, Request};

use crate::Outcome;
use crate::field::Field;
use crate::host::{Miss, ask};

/// Threads that ask without end.
const CLIENTS: usize = 3;

/// How the questions ended.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    pub(crate) answered: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) cut: AtomicU64,
    pub(crate) late: AtomicU64,
    /// Answers that were an error.
    pub(crate) sorry: AtomicU64,
    /// Longest wait for an answer, in microseconds.
    pub(crate) longest_us: AtomicU64,
}

/// What came over MQTT.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Sequence numbers of stage events, by boot.
    pub(crate) events: BTreeMap<u64, BTreeSet<u64>>,
    pub(crate) windows: u64,
    pub(crate) refused: Vec<String>,
}

impl Heard {
    /// Events that are missing between others of their boot.
    pub(crate) fn holes(&self) -> u64 {
        let holes = |seqs: &BTreeSet<u64>| seqs.last().map_or(0, |last| last + 1 - seqs.len() as u64);
        self.events.values().map(holes).sum()
    }
}

/// Runs until stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
    pub(crate) questions: Arc<Questions>,
    pub(crate) heard: Arc<Mutex<Heard>>,
    listener: tokio::task::JoinHandle<()>,
}

impl Load {
    pub(crate) fn start(field: &Field) -> Outcome<Self> {
        let (stop, questions) = (Arc::new(AtomicBool::new(false)), Arc::new(Questions::default()));
        let client = |_| {
            let (stop, questions) = (Arc::clone(&stop), Arc::clone(&questions));
            std::thread::spawn(move || ask_on(&stop, &questions))
        };
        let clients = (0..CLIENTS).map(client).collect();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let subscriber = field
            .runtime
            .block_on(Subscriber::connect(Options::new(&field.broker.url(), "soak")))
            .map_err(|error| error.to_string())?;
        let listener = field.runtime.spawn(listen(subscriber, Arc::clone(&heard)));
        Ok(Self { stop, clients, questions, heard, listener })
    }

    /// Stops asking; waits for the last answers.
    pub(crate) fn stop(self) -> (Arc<Questions>, Heard) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            // A panic there has been printed.
            let _ = client.join();
        }
        self.listener.abort();
        let heard = std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner));
        (self.questions, heard)
    }
}

fn ask_on(stop: &AtomicBool, questions: &Questions) {
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let count = match ask(&Request::Status) {
            Ok(Answer::Status(_)) => &questions.answered,
            Ok(_) => &questions.sorry,
            Err(Miss::Refused) => &questions.refused,
            Err(Miss::Cut) => &questions.cut,
            Err(Miss::Late) => &questions.late,
        };
        count.fetch_add(1, Ordering::Relaxed);
        let waited = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        questions.longest_us.fetch_max(waited, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(3));
    }
}

async fn listen(mut subscriber: Subscriber, heard: Arc<Mutex<Heard>>) {
    while let Some(message) = subscriber.recv().await {
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        match message {
            Message::Event(event) => {
                let boot = event.boot.parse().unwrap_or(u64::MAX);
                heard.events.entry(boot).or_default().insert(event.seq);
            }
            Message::Window(_) => heard.windows += 1,
            Message::Refused { topic, reason } => heard.refused.push(format!("{topic}: {reason}")),
            _ => {}
        }
    }
}
