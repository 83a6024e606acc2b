//! From (desired, observed, now) to a plan with reasons. Pure.
