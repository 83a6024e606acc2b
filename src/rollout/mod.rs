//! From (rollout, analysis, now) to the next phase. Pure.
