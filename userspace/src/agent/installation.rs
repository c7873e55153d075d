//! The CNI plugin and its configuration, put where the container runtime looks for them.

use super::node::NodeAgent;
use crate::{cni::installation, source::SourceError};

impl NodeAgent {
    /// Puts the CNI plugin and its configuration in their places, once the node is ready: a runtime
    /// that finds them makes pods.
    pub(super) fn install(&mut self) {
        if !self.manager.is_ready() || self.is_installed {
            return;
        }
        match installation::install(&self.config.cni, &self.config.run_dir) {
            Ok(written) => {
                for path in written {
                    log::info!("installed file={}", path.display());
                }
                self.is_installed = true;
                self.views.write().install_error = None;
            }
            Err(error) => {
                let place = installation::files(&self.config.cni).into_iter().next();
                let place = place.unwrap_or_default();
                let error = SourceError::about_file(&place, error.to_string());
                self.views.write().install_error = Some(error);
                self.report_errors();
                self.retry_soon();
            }
        }
    }
}
