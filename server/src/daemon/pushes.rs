//! What the catalogue's times of starts and ends say about the last push.

use jiff::Timestamp;

use crate::catalogue::TenantState;
use crate::control::facts::PushState;

/// The push that began or ended last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastPush {
    pub(super) started: Timestamp,
    pub(super) ended: Option<Timestamp>,
    pub(super) state: PushState,
}

impl LastPush {
    /// `None`: there never was one. `in_session`: some session is at work in the tenant's tree;
    /// without one, a push that has not ended is one that the server died under.
    pub(super) fn of(state: &TenantState, in_session: bool) -> Option<Self> {
        let started = state.last_push_started.or(state.last_push_ended)?;
        let ended = state.last_push_ended.filter(|ended| *ended >= started);
        let state = match ended {
            None if in_session => PushState::Running,
            None => PushState::BrokeOff,
            Some(_) if state.last_push_ok == Some(true) => PushState::EndedWell,
            Some(_) => PushState::BrokeOff,
        };
        Some(Self {
            started,
            ended,
            state,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(started: i64, ended: Option<i64>, ok: Option<bool>) -> TenantState {
        let at = |secs| Timestamp::from_second(secs).unwrap();
        TenantState {
            last_push_started: Some(at(started)),
            last_push_ended: ended.map(at),
            last_push_ok: ok,
            ..TenantState::default()
        }
    }

    #[test]
    fn a_push_without_an_end_runs_or_was_cut_off() {
        let told = |state: &TenantState, in_session| LastPush::of(state, in_session).unwrap().state;
        assert_eq!(told(&state(20, None, None), true), PushState::Running);
        assert_eq!(told(&state(20, None, None), false), PushState::BrokeOff);
        // The one before ended well, this one has not ended.
        assert_eq!(
            told(&state(20, Some(10), Some(true)), true),
            PushState::Running
        );
        assert_eq!(
            told(&state(20, Some(10), Some(true)), false),
            PushState::BrokeOff
        );
        assert_eq!(
            told(&state(20, Some(30), Some(true)), true),
            PushState::EndedWell
        );
        assert_eq!(
            told(&state(20, Some(30), Some(false)), false),
            PushState::BrokeOff
        );
        assert_eq!(LastPush::of(&TenantState::default(), false), None);
    }
}
