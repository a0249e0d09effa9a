//! Logs and metrics, if compiled in.

use super::process::Complaint;

/// Prints events and closed spans to stderr, one JSON line each, filtered by `RUST_LOG`;
/// `info` by default.
pub fn print_logs() {
    #[cfg(feature = "tracing")]
    {
        use tracing_subscriber::EnvFilter;
        use tracing_subscriber::fmt::format::FmtSpan;
        let filter = EnvFilter::try_from_default_env().unwrap_or(EnvFilter::new("info"));
        let logs = tracing_subscriber::fmt().json().with_writer(std::io::stderr);
        logs.with_env_filter(filter).with_span_events(FmtSpan::CLOSE).init();
    }
}

/// The metrics for Prometheus, with the feature `metrics`.
#[derive(Clone)]
pub struct Metrics {
    #[cfg(feature = "metrics")]
    handle: metrics_exporter_prometheus::PrometheusHandle,
}

impl Metrics {
    /// Starts recording metrics.
    #[cfg(feature = "metrics")]
    pub fn record() -> Result<Option<Self>, Complaint> {
        use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
        // From a tenth of a millisecond, which a query takes, to the store's deadline.
        let buckets = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0];
        let stages = Matcher::Suffix("_seconds".to_owned());
        let recorder = PrometheusBuilder::new().set_buckets_for_metric(stages, &buckets);
        let handle = recorder.and_then(PrometheusBuilder::install_recorder);
        let handle = handle.map_err(|error| error.to_string())?;
        Ok(Some(Self { handle }))
    }

    #[cfg(not(feature = "metrics"))]
    pub fn record() -> Result<Option<Self>, Complaint> {
        Ok(None)
    }

    /// Renders the metrics in the text format of Prometheus.
    pub fn render(&self) -> String {
        #[cfg(feature = "metrics")]
        {
            self.handle.run_upkeep();
            self.handle.render()
        }
        #[cfg(not(feature = "metrics"))]
        String::new()
    }
}
