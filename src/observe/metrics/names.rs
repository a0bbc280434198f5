//! The names of the metrics, with their units and descriptions.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

pub(super) const FLIGHT_DURATION: &str = "tower_refresh.flight.duration";
pub(super) const WAIT_DURATION: &str = "tower_refresh.wait.duration";
pub(super) const WAITERS: &str = "tower_refresh.waiters";
pub(super) const REJECTIONS: &str = "tower_refresh.rejections";
pub(super) const REPLAYS: &str = "tower_refresh.replays";
pub(super) const REPLAYS_IMPOSSIBLE: &str = "tower_refresh.replays_impossible";
pub(super) const REQUESTS_REFUSED: &str = "tower_refresh.requests.refused";
pub(super) const REFRESHES_HELD_OFF: &str = "tower_refresh.refreshes.held_off";
pub(super) const SESSIONS: &str = "tower_refresh.sessions";
pub(super) const EVICTIONS: &str = "tower_refresh.evictions";
pub(super) const SESSIONS_REFUSED: &str = "tower_refresh.sessions_refused";
pub(super) const LOGINS_STARTED: &str = "tower_refresh.logins.started";
pub(super) const LOGINS_ENDED: &str = "tower_refresh.logins.ended";
pub(super) const HOOK_DURATION: &str = "tower_refresh.hook.duration";
pub(super) const STORE_OPERATION_DURATION: &str = "tower_refresh.store.operation.duration";
pub(super) const STORE_ADOPTIONS: &str = "tower_refresh.store.adoptions";
pub(super) const STORE_SAVES_FAILED: &str = "tower_refresh.store.saves.failed";
pub(super) const STORE_LEASES_LOST: &str = "tower_refresh.store.leases.lost";
pub(super) const STORE_OUTAGES: &str = "tower_refresh.store.outages";
pub(super) const STORE_OUTAGE_DURATION: &str = "tower_refresh.store.outage.duration";

/// Gives the recorder the unit and the description of each metric.
pub(super) fn describe() {
    let histograms = [
        (FLIGHT_DURATION, "refreshes, from their start until the refresher is done"),
        (WAIT_DURATION, "waits of requests for a refresh"),
        (HOOK_DURATION, "hooks of ended logins"),
        (STORE_OPERATION_DURATION, "operations of stores"),
        (STORE_OUTAGE_DURATION, "outages of stores that are over"),
    ];
    for (name, description) in histograms {
        describe_histogram!(name, Unit::Seconds, description);
    }
    let gauges =
        [(WAITERS, "requests that wait for a refresh now"), (SESSIONS, "sessions in memory now")];
    for (name, description) in gauges {
        describe_gauge!(name, Unit::Count, description);
    }
    let counters = [
        (REJECTIONS, "requests whose credential an upstream rejected"),
        (REPLAYS, "requests sent again with a newer credential"),
        (REPLAYS_IMPOSSIBLE, "rejected requests whose body could not be sent again"),
        (REQUESTS_REFUSED, "requests that failed with an error of the session"),
        (REFRESHES_HELD_OFF, "refreshes that were due and did not start"),
        (EVICTIONS, "sessions that a registry forgot for others"),
        (SESSIONS_REFUSED, "sessions for which a registry had no place"),
        (LOGINS_STARTED, "logins"),
        (LOGINS_ENDED, "logins that ended"),
        (STORE_ADOPTIONS, "credentials taken over from another process"),
        (STORE_SAVES_FAILED, "saves that failed several times"),
        (STORE_LEASES_LOST, "leases lost to another process"),
        (STORE_OUTAGES, "times that a store began to fail"),
    ];
    for (name, description) in counters {
        describe_counter!(name, Unit::Count, description);
    }
}
