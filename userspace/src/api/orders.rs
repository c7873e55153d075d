//! Requests of the CNI plugin, on their way from the socket to the agent's loop and back.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tokio::sync::oneshot;

use super::Agent;
use crate::cni::{
    error::{CniError, Code},
    message::{Answer, Request},
};

/// How many requests may wait for the agent's loop: more than a node has pods.
pub const MOST_ORDERS: usize = 1024;

/// A request, and where the answer goes. Nobody waits for the answer any more where `reply` is
/// closed.
#[derive(Debug)]
pub struct Order {
    /// What is asked for.
    pub request: Request,
    /// Who asks.
    pub reply: oneshot::Sender<Result<Answer, CniError>>,
}

/// Answers `POST /v1/cni`. What needs a node that is ready is refused here at once while it is not,
/// so that no runtime waits for what cannot be.
pub(super) async fn carry_out(
    State(agent): State<Arc<dyn Agent>>,
    Json(request): Json<Request>,
) -> Response {
    match answer(&*agent, request).await {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => (StatusCode::CONFLICT, Json(error)).into_response(),
    }
}

async fn answer(agent: &dyn Agent, request: Request) -> Result<Answer, CniError> {
    match &request {
        Request::Status => return agent.can_attach().map(|()| Answer::Done),
        Request::Add(_) | Request::Check(_) => agent
            .can_attach()
            .map_err(|refusal| CniError { code: Code::TryAgainLater, ..refusal })?,
        Request::Del(_) | Request::Gc { .. } => {}
    }
    let busy = || CniError::new(Code::TryAgainLater, "the agent is ending, or has too much to do");
    let (reply, answered) = oneshot::channel();
    agent.orders().try_send(Order { request, reply }).map_err(|_| busy())?;
    answered.await.unwrap_or_else(|_| Err(busy()))
}
