//! What is counted once for the whole process.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::cells::Gauge;
use super::super::labels::{
    AdminRefusal, CompileSource, ConnectionRefusal, InstanceHolder, ReloadOutcome, UpgradeFailure,
};
use super::super::registry::{Metrics, Name, RouteMetrics};
use super::super::roster::Present;
use super::single::Single;

impl Metrics {
    /// The families of the process, in the order of the documentation.
    pub(super) fn process_wide(&self, routes: &Present<Name, RouteMetrics>) -> [Single; 13] {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let workers = Single::gauge(
            "tidegate_worker_connections_active",
            "Open WebSocket connections on a worker thread, over all routes.",
        );
        let refused = Single::counter(
            "tidegate_connections_refused_total",
            "Connections that were answered with 503 unread, because there was no place for them, by what was used up.",
        );
        let admin = Single::counter(
            "tidegate_admin_refusals_total",
            "Clients of the admin API that were answered with 503 or cut off, by the limit that they met.",
        );
        let panics = Single::counter(
            "tidegate_panics_total",
            "Faults of the proxy that were caught; each has cost a connection or a worker, and left an error in the log.",
        );
        let restarts = Single::counter(
            "tidegate_worker_restarts_total",
            "Worker threads that were started in the place of one that had ended.",
        );
        let assemblies = Single::gauge(
            "tidegate_assembly_bytes",
            "Memory held of messages that filters wait for, and of those that a slow receiver or a delay keeps waiting, in bytes.",
        );
        let isolated = Single::gauge(
            "tidegate_isolated_instances",
            "Component instances that serve one connection each, as many as there may be, by who has them.",
        );
        let compiles = Single::counter(
            "tidegate_component_compiles_total",
            "Components made ready by a start or a reload, by whether they were compiled or taken from the cache.",
        );
        let reloads = Single::counter("tidegate_reloads_total", "Reloads of the configuration, by how they ended.");
        let upgrades = Single::counter(
            "tidegate_upgrade_failures_total",
            "Binary upgrades after which the process went on as before, by why the new one did not take over.",
        );
        let generation = Single::gauge(
            "tidegate_config_generation",
            "Number of the configuration in force; grows by one with every applied reload.",
        );
        let polled = Single::gauge(
            "tidegate_polled_directories",
            "Directories with files of the configuration that cannot be watched, or not reliably, and are looked at every 5 seconds.",
        );
        let logs = Single::counter(
            "tidegate_log_lines_dropped_total",
            "Lines that a log of the proxy lost because its reader was too slow, or is gone, or has no room.",
        );

        let of_workers = self.worker_connections_active(routes);
        let of_workers = of_workers.iter().enumerate();
        let of_refusals = ConnectionRefusal::ALL.iter().zip(&self.incidents.connections_refused);
        let of_admin = AdminRefusal::ALL.iter().zip(&self.incidents.admin_refused);
        let of_holders = InstanceHolder::ALL.iter();
        let of_compiles = CompileSource::ALL.iter().zip(self.compiles.iter());
        let of_reloads = ReloadOutcome::ALL.iter().zip(&self.reloads);
        let of_upgrades = UpgradeFailure::ALL.iter().zip(&self.upgrade_failures);
        let of_logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        [
            of_workers.fold(workers, |family, (worker, active)| {
                family.with(&[("worker", &worker.to_string())], *active as f64)
            }),
            of_refusals.fold(refused, |family, (reason, it)| family.with(&[("reason", reason.label())], count(it))),
            of_admin.fold(admin, |family, (reason, it)| family.with(&[("reason", reason.label())], count(it))),
            panics.with(&[], count(&self.incidents.panics)),
            restarts.with(&[], count(&self.incidents.worker_restarts)),
            assemblies.with(&[], self.assembly_bytes.iter().map(Gauge::value).sum::<i64>() as f64),
            of_holders.fold(isolated, |family, holder| {
                family.with(&[("holder", holder.label())], self.isolated.of(*holder) as f64)
            }),
            of_compiles.fold(compiles, |family, (source, it)| family.with(&[("source", source.label())], count(it))),
            of_reloads.fold(reloads, |family, (outcome, it)| family.with(&[("outcome", outcome.label())], count(it))),
            of_upgrades.fold(upgrades, |family, (reason, it)| family.with(&[("reason", reason.label())], count(it))),
            generation.with(&[], self.generation() as f64),
            polled.with(&[], count(&self.incidents.polled_directories)),
            of_logs.iter().fold(logs, |family, (log, (dropped, unwritten))| {
                family.with(&[("log", log)], dropped.dropped_lines() as f64 + count(unwritten))
            }),
        ]
    }

    /// Open connections of each worker, over all routes.
    fn worker_connections_active(&self, routes: &Present<Name, RouteMetrics>) -> Vec<i64> {
        let mut active = vec![0; self.workers()];
        for (_, route) in routes.iter() {
            for (sum, shard) in active.iter_mut().zip(route.iter()) {
                *sum += shard.connections_active.value();
            }
        }
        active
    }
}
