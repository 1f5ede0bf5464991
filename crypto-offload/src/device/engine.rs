//! An engine over a transport.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::abi::{AbiError, CAPABILITY_SIZE, Capability, Operation, Request, Status};
use super::plan::{Next, Plan, is_expressible};
use super::transport::{Answer, Buffers, Transport, TransportError};
use crate::engine::{Capabilities, Engine, Health, Refused, RefusedReason};
use crate::job::{Completion, Job, JobError};

/// A coprocessor. Each job is one request after the other; as many jobs as the device has room for are in flight.
#[derive(Debug)]
pub struct DeviceEngine<T> {
    transport: T,
    capability: Capability,
    capabilities: Capabilities,
    /// How long the device may take over one request.
    time: Duration,
    /// By request id. The buffers are the transport's.
    in_flight: BTreeMap<u64, Plan>,
    /// Jobs whose next request the device had no room for.
    blocked: VecDeque<Plan>,
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

    /// Sends the next request of `plan` off. The plan comes back when the device has no room for it.
    fn send(&mut self, mut plan: Plan) -> Result<(), (Box<Plan>, TransportError)> {
        let id = self.next_id;
        self.next_id += 1;
        let (request, buffers) = plan.request(id, self.time);
        match self.transport.submit(&request, buffers) {
            Ok(()) => {
                self.in_flight.insert(id, plan);
                Ok(())
            }
            Err((buffers, error)) => {
                plan.take_back(buffers);
                Err((Box::new(plan), error))
            }
        }
    }

    /// Sends the next request of a job that has begun; the job waits when the device has no room.
    fn go_on(&mut self, plan: Plan) {
        match self.send(plan) {
            Ok(()) => {}
            Err((plan, TransportError::Busy)) => self.blocked.push_back(*plan),
            Err((plan, error)) => {
                self.blocked.push_back(*plan);
                self.fail(error.summary());
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
        let Some(mut plan) = self.in_flight.remove(&reply.id) else {
            self.fail("device answers what it was not asked");
            return;
        };
        match plan.handle_answer(&reply, buffers) {
            Next::Request => self.go_on(plan),
            Next::Done(result) => self.finished.push_back(Completion { id: plan.job, result }),
        }
    }

    /// Gives up on the device, and with it all jobs. Their buffers stay with the transport until a reset.
    fn fail(&mut self, reason: &'static str) {
        self.health = Health::Down(reason);
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
        self.send(plan).map_err(|(plan, error)| {
            let reason =
                if error == TransportError::Busy { RefusedReason::Full } else { RefusedReason::Down };
            if reason == RefusedReason::Down {
                self.fail(error.summary());
            }
            Refused::new(Job { id, deadline, operation: plan.into_operation() }, reason)
        })
    }

    fn poll_completion(&mut self) -> Option<Completion> {
        loop {
            if let Some(completion) = self.finished.pop_front() {
                return Some(completion);
            }
            if self.is_down() {
                return None;
            }
            for plan in std::mem::take(&mut self.blocked) {
                self.go_on(plan);
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
