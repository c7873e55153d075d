//! The two texts that Prometheus reads.

use std::fmt;

use prometheus_client::{
    encoding::{prometheus_text, text},
    registry::Registry,
};

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own text, version 0.0.4, which all can read.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The one that is asked for by a header `Accept`: OpenMetrics where it is named and not refused,
    /// as Prometheus names it first where it reads it.
    pub fn accepted(accept: Option<&str>) -> Self {
        let names_it = |part: &str| {
            let mut fields = part.split(';').map(str::trim);
            let is_it = fields.next() == Some("application/openmetrics-text");
            let is_refused = |field: &str| {
                let weight = field.strip_prefix("q=").and_then(|weight| weight.parse().ok());
                weight.is_some_and(|weight: f32| weight <= 0.0)
            };
            is_it && !fields.any(is_refused)
        };
        match accept {
            Some(accept) if accept.split(',').any(|part| names_it(part.trim())) => {
                Self::OpenMetrics
            }
            _ => Self::Prometheus,
        }
    }

    /// The header `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The text of these, one after the other.
    pub(super) fn encode<'a>(
        self,
        registries: impl IntoIterator<Item = &'a Registry>,
    ) -> Result<String, fmt::Error> {
        let mut all = String::new();
        for registry in registries {
            match self {
                Self::Prometheus => prometheus_text::encode(&mut all, registry)?,
                Self::OpenMetrics => text::encode_registry(&mut all, registry)?,
            }
        }
        if self == Self::OpenMetrics {
            text::encode_eof(&mut all)?;
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_are_for_those_who_ask_for_them() {
        for (accept, format) in [
            (None, Format::Prometheus),
            (Some("*/*"), Format::Prometheus),
            (Some("text/plain;version=0.0.4;q=0.5,*/*;q=0.1"), Format::Prometheus),
            (
                Some(
                    "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;\
                     q=0.3,*/*;q=0.1",
                ),
                Format::OpenMetrics,
            ),
            (Some("application/openmetrics-text; q=0, text/plain"), Format::Prometheus),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept:?}");
        }
    }
}
