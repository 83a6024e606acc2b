//! Which models the fleet shows, in which order, and which is selected. Pure.

use super::{
    filter::{Filter, Names},
    state::State,
};
use crate::api::types::ModelSummary;

impl State {
    /// Models that the filter lets through, in the chosen order.
    pub fn shown(&self) -> Vec<&ModelSummary> {
        let all = || self.fleet.iter().flat_map(|f| &f.models);
        if self.filter.is_empty() {
            return all().collect();
        }
        if self.sieve.0 == self.filter {
            let models = self.fleet.as_ref().map_or(&[][..], |f| &f.models);
            return self.sieve.1.iter().filter_map(|at| models.get(*at)).collect();
        }
        self.sifted().into_iter().map(|(_, m)| m).collect()
    }

    /// The same with their places in the fleet, asked of each model.
    fn sifted(&self) -> Vec<(usize, &ModelSummary)> {
        let filter = Filter::new(&self.filter);
        let found = |names| {
            let all = self.fleet.iter().flat_map(|f| f.models.iter().enumerate());
            all.filter(|(_, m)| filter.lets(m, names, self.marked.contains(&m.name))).collect::<Vec<_>>()
        };
        let exact = found(Names::Part);
        if exact.is_empty() { found(Names::Letters) } else { exact }
    }

    /// Keeps what the filter lets through until it is another one: ten thousand models are asked once, not for each frame.
    pub(super) fn sift(&mut self) {
        if self.sieve.0 != self.filter {
            let places = self.sifted().into_iter().map(|(at, _)| at).collect();
            self.sieve = (self.filter.clone(), places);
        }
    }

    /// The filter is to be asked anew.
    pub(super) fn unsift(&mut self) {
        self.sieve = Default::default();
    }

    /// Place of the selected model among those shown.
    pub fn place(&self) -> usize {
        self.place_among(&self.shown())
    }

    /// The same, of what was filtered already: ten thousand models are asked once a frame.
    pub(super) fn place_among(&self, shown: &[&ModelSummary]) -> usize {
        let Some(selected) = &self.selected else { return 0 };
        // Mostly where it was: ten thousand names need not be compared for it.
        let is = |m: &&ModelSummary| m.name == *selected;
        match shown.get(self.at).filter(|m| is(m)) {
            Some(_) => self.at,
            None => shown.iter().position(is).unwrap_or(0),
        }
    }

    pub(super) fn select(&mut self, place: usize) {
        let shown = self.shown();
        let at = place.min(shown.len().saturating_sub(1));
        self.selected = shown.get(at).map(|m| m.name.clone());
        self.at = at;
    }

    /// Puts the fleet in the chosen order.
    pub(super) fn arrange(&mut self) {
        let Some(fleet) = self.fleet.as_mut() else { return };
        let (ranking, grouping) = (self.ranking, self.grouping);
        fleet.models.sort_by(|a, b| {
            grouping.compare(a, b).then_with(|| ranking.compare(a, b)).then_with(|| a.name.cmp(&b.name))
        });
        self.unsift();
        self.at = self.place();
    }
}
