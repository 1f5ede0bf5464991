//! A reload of the configuration: everything that can fail is tried first, then all of it changes, or nothing.

use super::configuration::is_live;
use crate::config::Config;
use crate::event_loop::{EventLoop, now};
use crate::gateway::Limits;
use crate::io::cloud::Cloud;
use crate::log;
use crate::systemd::ServiceManager;

impl EventLoop {
    /// Reads the configuration anew and tells the service manager what came of it.
    pub(crate) fn reload(&mut self) {
        self.service.reloading();
        let outcome = self.configuration.read().and_then(|accepted| {
            self.apply(&accepted.config)?;
            Ok(accepted)
        });
        let sentence = match outcome {
            Ok(accepted) => {
                self.baseline.reloaded(&accepted.config, is_live);
                let source = accepted.config.source.clone();
                let sentence = self.configuration.adopt(accepted);
                // While keys wait for a restart, the file and what runs go on differing.
                if self.configuration.status().needs_restart.is_empty() {
                    self.baseline.source(&source);
                }
                self.memory.begin(self.configuration.text());
                tracing::info!("{sentence}");
                sentence
            }
            Err(reason) => {
                let sentence = self.configuration.refuse(reason);
                tracing::error!("{sentence}");
                sentence
            }
        };
        self.service.ready(&sentence);
    }

    fn apply(&mut self, config: &Config) -> Result<(), String> {
        let credentials = ServiceManager::credentials();
        let origin = Cloud::prepare(&config.cloud, credentials.as_deref())
            .map_err(|error| crate::bus::chain(&error))?;
        log::change(&config.log)?;
        self.io.cloud.change(origin);
        let limits = Limits {
            read_ahead: config.cloud.read_ahead.get(),
            attempts: config.cloud.attempts,
            poll_interval: config.cloud.poll_interval.get(),
        };
        self.gateway.change_limits(now().monotonic, limits);
        Ok(())
    }
}
