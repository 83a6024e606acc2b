//! Histories of metrics, and where their points stand.

use super::{Figure, Newest};
use crate::model::RunId;

/// A value that was logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    pub step: i64,
    pub time: i64,
    pub value: Figure,
}

/// What a history was the newest of: another mark, and there is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub newest: Newest,
    pub ended: Option<i64>,
}

/// A history that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    pub run: RunId,
    pub key: String,
    pub mark: Mark,
}

/// Points of a history, spread evenly over it when there are more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Curve {
    pub mark: Mark,
    pub points: Vec<Point>,
}

/// Values of one history that are drawn, at most.
pub const SAMPLES: usize = 200;

/// What a curve is drawn over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Axis {
    #[default]
    Step,
    /// Since the run began.
    Time,
}

impl Axis {
    pub fn other(self) -> Self {
        match self {
            Self::Step => Self::Time,
            Self::Time => Self::Step,
        }
    }
}

impl Curve {
    /// Whether its points have no steps of their own: who logs without them logs them all at step 0.
    pub fn is_stepless(&self) -> bool {
        self.points.len() > 1 && self.points.iter().all(|p| p.step == self.points[0].step)
    }

    /// Where its points stand; seconds since the run's start on the axis of time.
    pub fn over(&self, axis: Axis, started: i64) -> Vec<(f64, f64)> {
        let place = |p: &Point| match axis {
            Axis::Step => p.step as f64,
            Axis::Time => p.time.saturating_sub(started) as f64 / 1000.0,
        };
        let mut all: Vec<(f64, f64)> = self.points.iter().map(|p| (place(p), p.value.0)).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        all
    }

    /// Whether it may be a part of what was logged.
    pub fn is_sampled(&self) -> bool {
        self.points.len() >= SAMPLES
    }

    /// The lowest point and the highest one, as far as they are numbers; the first ones of those that are alike.
    pub fn extremes(&self) -> Option<(Point, Point)> {
        let numbers = || self.points.iter().filter(|p| p.value.0.is_finite()).copied();
        let by_value = |a: &Point, b: &Point| a.value.0.total_cmp(&b.value.0);
        Some((numbers().min_by(by_value)?, numbers().rev().max_by(by_value)?))
    }
}
