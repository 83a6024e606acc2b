//! Borders between the two panes of a screen, which the mouse drags. Pure.

use ratatui::layout::{Position, Rect};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A border.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Border {
    /// Of a model's page, between its columns.
    Model,
    /// Of a tracked run, where what is chosen stands beside the rows, and where it stands below.
    RunBeside,
    RunBelow,
    /// Of runs beside each other.
    Compare,
}

/// Thousandths of the room that the first pane has, where it was dragged.
pub type Shares = BTreeMap<Border, u16>;

/// Neither pane is ever smaller than a fifth.
const LEAST: u16 = 200;
const WHOLE: u16 = 1000;

impl Border {
    /// Whether the panes stand beside each other.
    pub fn is_upright(self) -> bool {
        matches!(self, Self::Model | Self::RunBeside)
    }

    /// The share of the first pane, when the border is dragged to this place.
    pub fn dragged(self, area: Rect, to: Position) -> u16 {
        let (at, from, all) = match self.is_upright() {
            true => (to.x, area.x, area.width),
            false => (to.y, area.y, area.height),
        };
        // Rounded up: the border is then drawn where the mouse is.
        let share = (u32::from(at.saturating_sub(from)) * u32::from(WHOLE)).div_ceil(u32::from(all.max(1)));
        u16::try_from(share).unwrap_or(WHOLE).clamp(LEAST, WHOLE - LEAST)
    }

    /// Both panes, with the border between them. `usual` are the cells of the first one while nobody dragged it.
    pub fn parted(self, area: Rect, shares: &Shares, usual: u16) -> [Rect; 3] {
        let all = if self.is_upright() { area.width } else { area.height };
        // A file may say anything.
        let of = |share: u16| u32::from(all) * u32::from(share.clamp(LEAST, WHOLE - LEAST)) / u32::from(WHOLE);
        let first = shares.get(&self).map_or(usual, |s| u16::try_from(of(*s)).unwrap_or(usual)).min(all);
        let line = (all - first).min(1);
        let part = |from: u16, cells: u16| match self.is_upright() {
            true => Rect { x: area.x + from, width: cells, ..area },
            false => Rect { y: area.y + from, height: cells, ..area },
        };
        [part(0, first), part(first, line), part(first + line, all - first - line)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_border_is_drawn_where_it_was_dragged_to(upright: bool, from in 0u16..50, all in 1u16..300, to in 0u16..400) {
            let border = if upright { Border::RunBeside } else { Border::Compare };
            let area = if upright { Rect::new(from, 3, all, 20) } else { Rect::new(3, from, 20, all) };
            let at = if upright { Position::new(to, 0) } else { Position::new(0, to) };
            let shares = Shares::from([(border, border.dragged(area, at))]);
            let [first, line, second] = border.parted(area, &shares, 0);
            let cells = |r: Rect| if upright { r.width } else { r.height };
            prop_assert_eq!(cells(first) + cells(line) + cells(second), all);
            let place = cells(first);
            let (least, most) = (u32::from(all) / 5, u32::from(all) * 4 / 5);
            prop_assert!((least..=most).contains(&u32::from(place)));
            if (least..=most).contains(&u32::from(to.saturating_sub(from))) && to >= from {
                prop_assert_eq!(place, to - from);
            }
        }
    }

    #[test]
    fn a_share_that_is_none_takes_no_pane_away() {
        let area = Rect::new(0, 0, 100, 10);
        for share in [0, 5000] {
            let [first, _, second] = Border::Model.parted(area, &Shares::from([(Border::Model, share)]), 50);
            assert!(first.width >= 20 && second.width >= 19, "{share}");
        }
        let [first, line, second] = Border::Compare.parted(Rect::new(0, 0, 9, 3), &Shares::new(), 7);
        assert_eq!((first.height, line.height, second.height), (3, 0, 0), "no room for more");
    }
}
