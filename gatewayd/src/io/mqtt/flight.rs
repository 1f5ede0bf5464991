//! What is on its way to the broker in one session, what is due again, and what goes next. No socket and no clock.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::gateway::message::Publish;
use crate::io::outbox::Outbox;

/// Messages sent and not yet acknowledged.
const WINDOW: usize = 16;
/// How long after a refusal one of the refused is tried again; doubles up to the second value.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// See the module. Messages are named by their numbers in the outbox.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// Given to the client, in order, not yet numbered by it.
    handed: VecDeque<u64>,
    /// Numbered by the client, not yet answered by the broker.
    numbered: HashMap<u16, u64>,
    /// The last message handed over for its first time.
    last: Option<u64>,
    /// To be handed over once more, before new ones.
    again: VecDeque<u64>,
    /// The broker would not have them, or nobody listens.
    refused: BTreeSet<u64>,
    /// The one of them that tries whether this has changed, handed over or due.
    probe: Option<u64>,
    retry_at: Option<Instant>,
    pause: Option<Duration>,
    /// Publishes of the presence message, which is not in the outbox.
    unlisted: usize,
}

impl Flight {
    /// A message that is not in the outbox was handed to the client.
    pub(super) fn handle_unlisted(&mut self) {
        self.unlisted += 1;
    }

    /// Whether another message may be handed over.
    pub(super) fn has_room(&self) -> bool {
        self.handed.len() + self.numbered.len() < WINDOW
    }

    /// Whether all is answered that was handed over.
    pub(super) fn is_empty(&self) -> bool {
        self.handed.is_empty() && self.numbered.is_empty()
    }

    /// The message to hand over next.
    pub(super) fn choose(&mut self, outbox: &Outbox) -> Result<Option<(u64, Publish)>, redb::Error> {
        while let Some(seq) = self.again.front().copied() {
            match outbox.get(seq)? {
                Some(message) => return Ok(Some((seq, message))),
                // It had to make room meanwhile.
                None => {
                    self.again.pop_front();
                    self.refused.remove(&seq);
                }
            }
        }
        outbox.next_after(self.last)
    }

    /// The client took what [`Flight::choose`] chose.
    pub(super) fn handle_sent(&mut self, seq: u64) {
        if self.again.front() == Some(&seq) {
            self.again.pop_front();
        } else {
            self.last = Some(seq);
        }
        self.handed.push_back(seq);
    }

    /// The client has numbered the next publish.
    pub(super) fn handle_number(&mut self, pkid: u16) {
        if self.unlisted > 0 {
            self.unlisted -= 1;
        } else if let Some(seq) = self.handed.pop_front() {
            self.numbered.insert(pkid, seq);
        }
    }

    /// The broker has answered a publish; gives its message.
    pub(super) fn handle_answer(&mut self, pkid: u16) -> Option<u64> {
        self.numbered.remove(&pkid)
    }

    /// The broker took the message. If it was one that had been refused, the others are due.
    pub(super) fn handle_taken(&mut self, seq: u64) {
        self.refused.remove(&seq);
        if self.probe == Some(seq) {
            (self.probe, self.retry_at, self.pause) = (None, None, None);
            self.again.extend(std::mem::take(&mut self.refused));
        }
    }

    /// The broker would not have the message, or says that nobody listens.
    pub(super) fn handle_refused(&mut self, now: Instant, seq: u64) {
        self.refused.insert(seq);
        let probed = self.probe == Some(seq);
        if probed || self.retry_at.is_none() && self.probe.is_none() {
            let pause =
                if probed { self.pause.map_or(PAUSES.0, |it| (it * 2).min(PAUSES.1)) } else { PAUSES.0 };
            (self.pause, self.retry_at) = (Some(pause), Some(now + pause));
        }
    }

    /// Receivers want these once more. Those that are on their way are.
    pub(super) fn handle_wanted(&mut self, wanted: Vec<u64>) {
        let under_way: HashSet<u64> =
            self.handed.iter().chain(self.numbered.values()).chain(&self.again).copied().collect();
        self.again.extend(wanted.into_iter().filter(|it| !under_way.contains(it)));
    }

    /// When to call [`Flight::handle_timeout`].
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.retry_at
    }

    /// One of the refused is due, by turns: one that will never pass must not stand for all.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.retry_at.is_none_or(|at| at > now) {
            return;
        }
        let after = self.probe.map_or(0, |it| it + 1);
        self.probe = self.refused.range(after..).chain(&self.refused).next().copied();
        self.again.extend(self.probe);
        // Should nothing come of it, the next one is due then.
        self.retry_at = self.probe.and(self.pause).map(|pause| now + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scene {
        flight: Flight,
        outbox: Outbox,
        _directory: tempfile::TempDir,
        pkid: u16,
    }

    impl Scene {
        /// With so many messages of telemetry waiting.
        fn new(waiting: u8) -> Self {
            let directory = tempfile::tempdir().expect("temporary directory");
            let mut outbox = Outbox::open(&directory.path().join("outbox"), 100).expect("opens");
            let message =
                |at| Publish { topic: "t".to_owned(), payload: vec![at], retain: false, droppable: true };
            outbox.push(&(0..waiting).map(message).collect::<Vec<_>>()).expect("taken");
            Self { flight: Flight::default(), outbox, _directory: directory, pkid: 0 }
        }

        /// Hands over all that may be; which those are.
        fn send(&mut self) -> Vec<u64> {
            let mut sent = Vec::new();
            while self.flight.has_room()
                && let Some((seq, _)) = self.flight.choose(&self.outbox).expect("readable")
            {
                self.flight.handle_sent(seq);
                self.pkid += 1;
                self.flight.handle_number(self.pkid);
                sent.push(seq);
            }
            sent
        }

        /// The broker answers the publishes from `from` on.
        fn answer(&mut self, now: Instant, from: u16, taken: bool) {
            for pkid in from..=self.pkid {
                let Some(seq) = self.flight.handle_answer(pkid) else { continue };
                if taken {
                    self.flight.handle_taken(seq);
                    self.outbox.acknowledge(seq).expect("writable");
                } else {
                    self.flight.handle_refused(now, seq);
                }
            }
        }
    }

    #[test]
    fn while_nobody_listens_one_message_tries_and_then_all_go() {
        let (mut scene, mut now) = (Scene::new(3), Instant::now());
        assert_eq!(scene.send(), [0, 1, 2]);
        scene.answer(now, 1, false);
        assert_eq!(scene.send(), Vec::<u64>::new(), "not before the pause is over");
        let mut pauses = Vec::new();
        for expected in [0, 1, 2, 0, 1, 2, 0, 1] {
            let at = scene.flight.poll_timeout().expect("a pause");
            pauses.push((at - now).as_secs());
            scene.flight.handle_timeout(at - Duration::from_millis(1));
            assert_eq!(scene.send(), Vec::<u64>::new());
            scene.flight.handle_timeout(at);
            now = at;
            assert_eq!(scene.send(), [expected]);
            scene.answer(now, scene.pkid, false);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        now = scene.flight.poll_timeout().expect("a pause");
        scene.flight.handle_timeout(now);
        assert_eq!(scene.send(), [2]);
        scene.answer(now, scene.pkid, true);
        assert_eq!(scene.send(), [0, 1]);
        scene.answer(now, 1, true);
        assert!(scene.outbox.is_empty() && scene.flight.is_empty());
        assert_eq!(scene.flight.poll_timeout(), None);
    }

    #[test]
    fn what_a_receiver_misses_goes_before_what_is_new_and_once() {
        let (mut scene, now) = (Scene::new(20), Instant::now());
        assert_eq!(scene.send(), (0..16).collect::<Vec<_>>());
        scene.flight.handle_wanted(vec![14, 15]);
        scene.answer(now, 1, true);
        scene.flight.handle_wanted(vec![3, 5]);
        scene.flight.handle_wanted(vec![5]);
        assert_eq!(scene.send(), [3, 5, 16, 17, 18, 19]);
        scene.answer(now, 1, true);
        assert!(scene.outbox.is_empty() && scene.flight.is_empty());
    }
}
