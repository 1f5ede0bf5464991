//! An engine over a transport.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::abi::{AbiError, CAPABILITY_SIZE, Capability, Key, Operation, Reply, Request, Status};
use super::keys::{KeyTable, KeyWay};
use super::plan::{Next, Plan, is_expressible};
use super::transport::{Answer, Buffers, Transport, TransportError};
use crate::engine::{Capabilities, Engine, Health, Refused, RefusedReason};
use crate::job::{Completion, Job, JobError};

/// A coprocessor. Each job is one request after the other; as many jobs as the device has room for are in flight.
///
/// A key rests in the device, where that has room for it, from the first job that uses it until its last owner
/// ([`Seal::key`](crate::job::Seal::key)) drops it; it is loaded again after a reset.
#[derive(Debug)]
pub struct DeviceEngine<T> {
    transport: T,
    capability: Capability,
    capabilities: Capabilities,
    /// How long the device may take over one request.
    time: Duration,
    /// By request id. The buffers are the transport's.
    in_flight: BTreeMap<u64, Plan>,
    /// Jobs whose next request the device had no room for, or whose key is on its way.
    blocked: VecDeque<Plan>,
    keys: KeyTable,
    /// Requests to drop a key.
    dropping: BTreeSet<u64>,
    finished: VecDeque<Completion>,
    next_id: u64,
    /// The request for capabilities after a reset.
    asked: Option<u64>,
    health: Health,
}

/// Why there is no engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The device is gone, or breaks the interface.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The device does not say what it can do.
    #[error("device does not tell its capabilities ({0:?})")]
    Refused(Status),
    /// The device says what it can do in other words than the interface's.
    #[error("device's capabilities are no such record: {0}")]
    Capability(AbiError),
    /// The device says nothing.
    #[error("device does not tell its capabilities in time")]
    Silent,
}

impl<T: Transport> DeviceEngine<T> {
    /// Asks the device what it can do. `time` is how long it may take over one request from then on; `pause` waits a
    /// little for the transport and says whether to go on waiting.
    ///
    /// # Errors
    /// [`OpenError`], and nothing is known about the device.
    pub fn open(
        mut transport: T,
        time: Duration,
        mut pause: impl FnMut(&T) -> bool,
    ) -> Result<Self, OpenError> {
        let (request, buffers) = capability_request(0, time);
        transport.submit(&request, buffers).map_err(|(_, error)| error)?;
        let Answer { reply, buffers } = loop {
            if let Some(answer) = transport.poll()? {
                break answer;
            }
            if !pause(&transport) {
                return Err(OpenError::Silent);
            }
        };
        if reply.status != Status::Ok {
            return Err(OpenError::Refused(reply.status));
        }
        let capability = Capability::decode(&buffers.output).map_err(OpenError::Capability)?;
        Ok(Self {
            transport,
            capabilities: capability.to_capabilities(),
            keys: KeyTable::new(usize::try_from(capability.keys).unwrap_or_default()),
            dropping: BTreeSet::new(),
            capability,
            time,
            in_flight: BTreeMap::new(),
            blocked: VecDeque::new(),
            finished: VecDeque::new(),
            next_id: 1,
            asked: None,
            health: Health::Up,
        })
    }

    /// Sends the next request of `plan` off: the one for its key where the device does not have that yet. The plan comes
    /// back when it cannot be sent now.
    fn send(&mut self, mut plan: Plan) -> Result<(), (Box<Plan>, Unsent)> {
        if self.requests() >= self.capabilities.depth {
            return Err((Box::new(plan), Unsent::Later));
        }
        let way = plan.seal().map_or(KeyWay::Raw, |seal| self.keys.way(&seal.key, seal.cipher));
        let id = self.next_id;
        let loading = if way == KeyWay::Load { plan.load_request(id, self.time) } else { None };
        let (request, buffers) = match (way, loading) {
            (KeyWay::Wait, _) => return Err((Box::new(plan), Unsent::Later)),
            (_, Some(loading)) => loading,
            (KeyWay::Handle(handle), None) => plan.request(id, self.time, Some(handle)),
            (KeyWay::Raw | KeyWay::Load, None) => plan.request(id, self.time, None),
        };
        self.next_id += 1;
        match self.transport.submit(&request, buffers) {
            Ok(()) => {
                self.in_flight.insert(id, plan);
                Ok(())
            }
            Err((buffers, error)) => {
                if let Some(seal) = plan.seal().filter(|_| plan.is_loading()) {
                    self.keys.forget(&seal.key, seal.cipher);
                }
                plan.take_back(buffers);
                Err((Box::new(plan), Unsent::Transport(error)))
            }
        }
    }

    /// Sends the next request of a job that has begun; the job waits when that cannot be sent now.
    fn go_on(&mut self, plan: Plan) {
        match self.send(plan) {
            Ok(()) => {}
            Err((plan, Unsent::Later | Unsent::Transport(TransportError::Busy))) => {
                self.blocked.push_back(*plan);
            }
            Err((plan, Unsent::Transport(error))) => {
                self.blocked.push_back(*plan);
                self.fail(error.summary());
            }
        }
    }

    /// Sends what waits for room in the device, or for a key that has arrived in it.
    fn send_more(&mut self) {
        for _ in 0..self.blocked.len() {
            if !self.is_down()
                && let Some(plan) = self.blocked.pop_front()
            {
                self.go_on(plan);
            }
        }
        if !self.is_down() {
            self.drop_keys();
        }
    }

    /// Has the device drop keys that nobody has any more, as far as it has room for more requests.
    fn drop_keys(&mut self) {
        while self.requests() < self.capabilities.depth
            && let Some(handle) = self.keys.take_unused()
        {
            let id = self.next_id;
            self.next_id += 1;
            let mut request = Request::new(id, Operation::DropKey, 0);
            request.key = Key::Handle(handle);
            request.time = self.time;
            match self.transport.submit(&request, Buffers::default()) {
                Ok(()) => {
                    self.dropping.insert(id);
                }
                Err((_, TransportError::Busy)) => return self.keys.put_back(handle),
                Err((_, error)) => return self.fail(error.summary()),
            }
        }
    }

    fn handle_answer(&mut self, Answer { reply, buffers }: Answer) {
        self.health =
            if reply.degraded { Health::Degraded("device says it is degraded") } else { Health::Up };
        if self.asked == Some(reply.id) {
            self.asked = None;
            if Capability::decode(&buffers.output).as_ref() != Ok(&self.capability) {
                self.fail("device is another one than before");
            }
            return;
        }
        if self.dropping.remove(&reply.id) {
            self.keys.handle_dropped();
            if reply.status != Status::Ok {
                self.fail("device does not drop a key");
            }
            return;
        }
        match self.in_flight.remove(&reply.id) {
            Some(plan) => self.handle_step(plan, &reply, buffers),
            None => self.fail("device answers what it was not asked"),
        }
    }

    /// Goes on with a job whose last request has been answered.
    fn handle_step(&mut self, mut plan: Plan, reply: &Reply, buffers: Buffers) {
        let (loaded, with_key) = (plan.is_loading(), reply.status == Status::NoKey);
        let next = plan.handle_answer(reply, buffers);
        if let Some(seal) = plan.seal() {
            match next {
                Next::Key(handle) => self.keys.handle_loaded(&seal.key, seal.cipher, handle),
                Next::Done(_) if loaded || with_key => self.keys.forget(&seal.key, seal.cipher),
                _ => {}
            }
        }
        match next {
            Next::Request | Next::Key(_) => self.go_on(plan),
            Next::Done(result) => self.finished.push_back(Completion { id: plan.job, result }),
        }
    }

    /// Gives up on the device, and with it all jobs. Their buffers stay with the transport until a reset.
    fn fail(&mut self, reason: &'static str) {
        self.health = Health::Down(reason);
        self.asked = None;
        self.keys.clear();
        self.dropping.clear();
        let in_flight = std::mem::take(&mut self.in_flight).into_values();
        for plan in in_flight.chain(std::mem::take(&mut self.blocked)) {
            self.finished.push_back(Completion { id: plan.job, result: Err(JobError::Engine(reason)) });
        }
    }

    fn is_down(&self) -> bool {
        matches!(self.health, Health::Down(_))
    }

    fn jobs(&self) -> usize {
        self.in_flight.len() + self.blocked.len() + self.finished.len()
    }

    /// Requests that the device has.
    fn requests(&self) -> usize {
        self.in_flight.len() + self.dropping.len() + usize::from(self.asked.is_some())
    }
}

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unsent {
    /// The device has as many as it takes, or the key of this one is on its way.
    Later,
    /// The transport did not take it.
    Transport(TransportError),
}

impl<T: Transport> Engine for DeviceEngine<T> {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn submit(&mut self, job: Job) -> Result<(), Refused> {
        let reason = if self.is_down() {
            Some(RefusedReason::Down)
        } else if !self.capabilities.supports(&job.operation) || !is_expressible(&job.operation) {
            Some(RefusedReason::Unsupported)
        } else {
            (self.jobs() >= self.capabilities.depth).then_some(RefusedReason::Full)
        };
        if let Some(reason) = reason {
            return Err(Refused::new(job, reason));
        }
        let Job { id, deadline, operation } = job;
        let plan = Plan::new(id, operation);
        if let Some(error) = plan.refusal() {
            self.finished.push_back(Completion { id, result: Err(error) });
            return Ok(());
        }
        let (plan, error) = match self.send(plan) {
            Ok(()) => return Ok(()),
            Err((plan, Unsent::Later)) => {
                self.blocked.push_back(*plan);
                return Ok(());
            }
            Err((plan, Unsent::Transport(error))) => (plan, error),
        };
        let reason = if error == TransportError::Busy { RefusedReason::Full } else { RefusedReason::Down };
        if reason == RefusedReason::Down {
            self.fail(error.summary());
        }
        Err(Refused::new(Job { id, deadline, operation: plan.into_operation() }, reason))
    }

    fn poll_completion(&mut self) -> Option<Completion> {
        loop {
            if let Some(completion) = self.finished.pop_front() {
                return Some(completion);
            }
            if self.is_down() {
                return None;
            }
            self.send_more();
            if self.is_down() {
                continue;
            }
            match self.transport.poll() {
                Ok(Some(answer)) => self.handle_answer(answer),
                Ok(None) if self.finished.is_empty() => return None,
                Ok(None) => {}
                Err(error) => self.fail(error.summary()),
            }
        }
    }

    fn health(&self) -> Health {
        self.health
    }

    fn recover(&mut self) {
        if !self.is_down() && self.in_flight.is_empty() && self.blocked.is_empty() {
            return;
        }
        self.fail("device is being reset");
        if let Err(error) = self.transport.reset() {
            self.health = Health::Down(error.summary());
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        let (request, buffers) = capability_request(id, self.time);
        self.asked = Some(id);
        self.health = match self.transport.submit(&request, buffers) {
            Ok(()) => Health::Up,
            Err((_, error)) => Health::Down(error.summary()),
        };
    }

    fn identity(&self) -> String {
        format!("{} firmware {:#x}", self.capability.name, self.capability.firmware)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        // A device that is gone would be readable for ever.
        if self.is_down() { None } else { self.transport.fd() }
    }

    fn wants_write(&self) -> bool {
        self.transport.wants_write()
    }
}

fn capability_request(id: u64, time: Duration) -> (Request, Buffers) {
    let mut request = Request::new(id, Operation::Capabilities, 0);
    request.out_len = CAPABILITY_SIZE;
    request.time = time;
    (request, Buffers { output: vec![0; CAPABILITY_SIZE], ..Buffers::default() })
}
