//! Where the agent answers those who watch it; what fails is shown as other errors are.

use std::{net::SocketAddr, path::Path, sync::Arc};

use super::{observed::Observed, views::Views};
use crate::{
    config::AgentConfig,
    operations::{Door, DoorError, HealthPages, MetricsPages, Opened, Opening},
    source::SourceError,
};

/// Opens them. What fails is an error only where the settings say that it is.
pub(super) fn open(
    config: &AgentConfig,
    observed: &Observed,
    views: &Arc<Views>,
) -> Result<Vec<Opened>, DoorError> {
    let operations = &config.operations;
    let failure = operations.bind_failure;
    let metrics = &observed.metrics;
    let mut opened = Vec::new();
    if let Some(address) = operations.healthz {
        let pages = HealthPages::new(Arc::clone(&observed.health), Arc::clone(metrics));
        let opening = Opening::new(Door::Healthz, address, failure);
        opened.push(opening.open(Arc::new(pages), told(Door::Healthz, address, views))?);
    }
    if let Some(address) = operations.metrics {
        let scraped = Arc::clone(views) as Arc<_>;
        let pages = MetricsPages::new(scraped, Arc::clone(metrics), config.effective.clone());
        let opening = Opening::new(Door::Metrics, address, failure);
        opened.push(opening.open(Arc::new(pages), told(Door::Metrics, address, views))?);
    }
    Ok(opened)
}

/// Notes what is told of a door.
fn told(
    door: Door,
    address: SocketAddr,
    views: &Arc<Views>,
) -> impl Fn(Result<(), DoorError>) + Send + 'static {
    let views = Arc::clone(views);
    move |result| {
        let errors = &mut views.write().door_errors;
        match result {
            Ok(()) => {
                log::info!("--{} {address}: no longer taken", door.key());
                errors.remove(&door);
            }
            Err(error) => {
                log::error!("{error}; it is tried again");
                let place = format!("--{}", door.key());
                let message = format!(
                    "{address}: {}; free the address and port on this node; it is tried again",
                    error.source
                );
                errors.insert(door, SourceError::about_file(Path::new(&place), message));
            }
        }
    }
}
