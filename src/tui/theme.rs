//! Themes: what the parts of a screen look like on this terminal. Pure.
//!
//! Views paint in roles: an indexed colour is the number of one. The whole frame is then dressed at once, so that views know neither the
//! theme nor the terminal.

use ratatui::{
    buffer::{Buffer, Cell},
    style::{Color, Modifier},
};

/// What a colour is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Good,
    Bad,
    Warn,
    Accent,
    /// The share of the stable release in a bar.
    Stable,
    /// That of the new one.
    New,
    /// The n-th curve of a chart.
    Curve(usize),
}

const CURVES: usize = 6;
const ROLES: usize = 6 + CURVES;

impl Role {
    /// What stands for it until the frame is dressed.
    pub fn colour(self) -> Color {
        Color::Indexed(match self {
            Self::Good => 0,
            Self::Bad => 1,
            Self::Warn => 2,
            Self::Accent => 3,
            Self::Stable => 4,
            Self::New => 5,
            Self::Curve(n) => 6 + (n % CURVES) as u8,
        })
    }
}

/// A choice of colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Theme {
    /// The terminal's own sixteen.
    #[default]
    Default,
    Dark,
    Light,
    /// Blue, orange and vermillion: the palette of Okabe and Ito.
    ColourBlind,
    Mono,
}

/// Every theme, as it is called.
const THEMES: [(&str, Theme); 5] = [
    ("default", Theme::Default),
    ("dark", Theme::Dark),
    ("light", Theme::Light),
    ("colour-blind", Theme::ColourBlind),
    ("mono", Theme::Mono),
];

impl Theme {
    /// What themes are called.
    pub fn names() -> impl Iterator<Item = &'static str> {
        THEMES.iter().map(|(name, _)| *name)
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        THEMES.iter().find(|(_, theme)| *theme == self).map_or("", |(name, _)| name)
    }

    /// Its colours, and that of what is said in passing where the terminal's own dimming is not taken.
    fn inks(self) -> Option<Inks> {
        match self {
            Self::Default => Some(DEFAULT),
            Self::Dark => Some(DARK),
            Self::Light => Some(LIGHT),
            Self::ColourBlind => Some(COLOUR_BLIND),
            Self::Mono => None,
        }
    }
}

impl std::str::FromStr for Theme {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = THEMES.iter().find(|(name, _)| *name == text).map(|(_, theme)| *theme);
        found.ok_or_else(|| {
            format!("there is no theme `{text}`; there are: {}", Self::names().collect::<Vec<_>>().join(", "))
        })
    }
}

/// How many colours a terminal shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    None,
    #[default]
    Sixteen,
    Indexed,
    True,
}

impl Depth {
    /// As the environment tells.
    pub fn of(no_color: &str, colorterm: &str, term: &str) -> Self {
        // The DEC terminals up to the VT420 have none; names such as `vt100-am` are theirs too.
        let plain = ["dumb", "vt1", "vt2", "vt3", "vt4"].iter().any(|t| term.starts_with(t)) || term.ends_with("-mono");
        match colorterm {
            _ if !no_color.is_empty() || plain => Self::None,
            "truecolor" | "24bit" => Self::True,
            _ if term.contains("256color") => Self::Indexed,
            _ => Self::Sixteen,
        }
    }

    /// The nearest colour that the terminal has.
    fn nearest(self, colour: Color) -> Color {
        match (self, colour) {
            (Self::Indexed, Color::Rgb(r, g, b)) => indexed([r, g, b]),
            (Self::Sixteen | Self::None, Color::Rgb(r, g, b)) => named([r, g, b]),
            (_, colour) => colour,
        }
    }
}

/// How frames are dressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    pub theme: Theme,
    depth: Depth,
    /// Without any, everything is told by symbols and words alone.
    inks: Option<Inks>,
}

impl Default for Look {
    fn default() -> Self {
        Self::new(Theme::default(), Depth::default())
    }
}

impl Look {
    /// A theme, as far as the terminal shows it.
    pub fn new(theme: Theme, depth: Depth) -> Self {
        let fitted = |i: Inks| Inks { roles: i.roles.map(|c| depth.nearest(c)), dim: i.dim.map(|c| depth.nearest(c)) };
        let inks = theme.inks().filter(|_| depth != Depth::None).map(fitted);
        Self { theme, depth, inks }
    }

    /// Another theme on the same terminal.
    pub fn with(&self, theme: Theme) -> Self {
        Self::new(theme, self.depth)
    }

    /// Gives a frame its colours.
    pub fn dress(&self, buffer: &mut Buffer) {
        match &self.inks {
            Some(inks) => buffer.content.iter_mut().for_each(|c| inks.dress(c)),
            None => buffer.content.iter_mut().for_each(bare),
        }
    }
}

/// A colour for each role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Inks {
    roles: [Color; ROLES],
    /// Instead of the terminal's own dimming, which some show hardly or not at all.
    dim: Option<Color>,
}

impl Inks {
    fn dress(&self, cell: &mut Cell) {
        let of = |colour| match colour {
            Color::Indexed(role) => self.roles.get(usize::from(role)).copied().unwrap_or(colour),
            other => other,
        };
        (cell.fg, cell.bg) = (of(cell.fg), of(cell.bg));
        if let Some(dim) = self.dim.filter(|_| cell.fg == Color::Reset && cell.modifier.contains(Modifier::DIM)) {
            cell.fg = dim;
            cell.modifier.remove(Modifier::DIM);
        }
    }
}

/// Two forms tell the shares of releases apart where two colours do not; of a cell that both have, the larger one's is shown.
fn bare(cell: &mut Cell) {
    let part = ("▁"..="█").contains(&cell.symbol());
    if part && cell.fg == Role::New.colour() {
        cell.set_symbol(if cell.symbol() >= "▄" { "▒" } else { "█" });
    }
    (cell.fg, cell.bg) = (Color::Reset, Color::Reset);
}

const fn inks(roles: [u32; ROLES], dim: u32) -> Inks {
    let mut out = [Color::Reset; ROLES];
    let mut at = 0;
    while at < ROLES {
        out[at] = Color::from_u32(roles[at]);
        at += 1;
    }
    Inks { roles: out, dim: Some(Color::from_u32(dim)) }
}

#[rustfmt::skip]
const DEFAULT: Inks = Inks {
    roles: [
        Color::Green, Color::Red, Color::Yellow, Color::Cyan, Color::Cyan, Color::Yellow,
        Color::Cyan, Color::Yellow, Color::Magenta, Color::Green, Color::Blue, Color::LightRed,
    ],
    dim: None,
};

#[rustfmt::skip]
const DARK: Inks = inks(
    [
        0x6F_CF_7F, 0xFF_7B_72, 0xE3_B3_41, 0x56_C7_E0, 0x56_C7_E0, 0xE3_B3_41,
        0x56_C7_E0, 0xE3_B3_41, 0xD2_A8_FF, 0x6F_CF_7F, 0x79_B0_FF, 0xFF_9E_8F,
    ],
    0x8B_94_9E,
);

#[rustfmt::skip]
const LIGHT: Inks = inks(
    [
        0x1A_7F_37, 0xB3_26_1E, 0x87_58_00, 0x0A_66_7F, 0x0A_66_7F, 0x87_58_00,
        0x0A_66_7F, 0x87_58_00, 0x82_50_DF, 0x1A_7F_37, 0x05_50_AE, 0xB3_26_1E,
    ],
    0x59_63_6E,
);

#[rustfmt::skip]
const COLOUR_BLIND: Inks = Inks {
    dim: None,
    ..inks(
        [
            0x56_B4_E9, 0xD5_5E_00, 0xE6_9F_00, 0xCC_79_A7, 0x56_B4_E9, 0xE6_9F_00,
            0x56_B4_E9, 0xE6_9F_00, 0xCC_79_A7, 0x00_9E_73, 0xF0_E4_42, 0xD5_5E_00,
        ],
        0,
    )
};

/// The nearest of the colours 16 to 255, which are the same on every terminal that has them: a cube of six levels, and greys.
fn indexed(rgb: [u8; 3]) -> Color {
    let far = |n: &u8| rgb.iter().zip(shown(*n)).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum::<u32>();
    Color::Indexed((16..=255).min_by_key(far).unwrap_or(16))
}

/// What a colour from 16 on is shown as.
fn shown(n: u8) -> [u8; 3] {
    const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    if n >= 232 {
        return [8 + 10 * (n - 232); 3];
    }
    let at = usize::from(n.saturating_sub(16));
    [LEVELS[at / 36], LEVELS[at / 6 % 6], LEVELS[at % 6]]
}

/// The nearest of the sixteen by its hue: people choose for themselves what exactly those are, but hardly another hue.
fn named(rgb: [u8; 3]) -> Color {
    const GREY: u8 = 48;
    const TINT: u8 = 100;
    let least = rgb.iter().copied().min().unwrap_or(0);
    let most = rgb.iter().copied().max().unwrap_or(0);
    if most - least < GREY {
        return match most {
            0..64 => Color::Black,
            64..160 => Color::DarkGray,
            160..230 => Color::Gray,
            _ => Color::White,
        };
    }
    let middle = least + (most - least) / 2;
    match (rgb.map(|c| c > middle), least >= TINT) {
        ([true, false, false], false) => Color::Red,
        ([true, false, false], true) => Color::LightRed,
        ([false, true, false], false) => Color::Green,
        ([false, true, false], true) => Color::LightGreen,
        ([true, true, _], false) => Color::Yellow,
        ([true, true, _], true) => Color::LightYellow,
        ([false, false, _], false) => Color::Blue,
        ([false, false, _], true) => Color::LightBlue,
        ([true, false, true], false) => Color::Magenta,
        ([true, false, true], true) => Color::LightMagenta,
        ([false, true, true], false) => Color::Cyan,
        ([false, true, true], true) => Color::LightCyan,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance as WCAG 2 defines it.
    fn luminance(rgb: [u8; 3]) -> f64 {
        let linear = |c: u8| match f64::from(c) / 255.0 {
            c if c <= 0.04045 => c / 12.92,
            c => ((c + 0.055) / 1.055).powf(2.4),
        };
        let [r, g, b] = rgb.map(linear);
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    fn contrast(a: [u8; 3], b: [u8; 3]) -> f64 {
        let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
        a.max(b) / a.min(b)
    }

    fn rgb(colour: Color) -> [u8; 3] {
        match colour {
            Color::Rgb(r, g, b) => [r, g, b],
            Color::Indexed(n) => shown(n),
            other => panic!("{other} is the terminal's own"),
        }
    }

    #[test]
    fn depth_is_as_the_environment_tells() {
        for (no_color, colorterm, term, depth) in [
            ("", "", "xterm-256color", Depth::Indexed),
            ("", "truecolor", "xterm-256color", Depth::True),
            ("", "24bit", "", Depth::True),
            ("", "yes", "screen", Depth::Sixteen),
            ("", "", "", Depth::Sixteen),
            ("", "", "dumb", Depth::None),
            ("", "", "vt100", Depth::None),
            ("", "", "vt220", Depth::None),
            ("", "truecolor", "xterm-mono", Depth::None),
            ("1", "truecolor", "xterm-256color", Depth::None),
        ] {
            assert_eq!(
                Depth::of(no_color, colorterm, term),
                depth,
                "NO_COLOR={no_color} COLORTERM={colorterm} TERM={term}"
            );
        }
    }

    #[test]
    fn true_colours_are_mapped_to_the_nearest() {
        for (colour, in_256, in_16) in [
            (0xFF_00_00, 196, Color::Red),
            (0x5F_87_AF, 67, Color::Blue),
            (0x00_00_D0, 20, Color::Blue),
            (0x80_80_80, 244, Color::DarkGray),
            (0xFF_FF_FF, 231, Color::White),
            (0xFF_9E_8F, 216, Color::LightRed),
            (0xE6_9F_00, 178, Color::Yellow),
        ] {
            let colour = Color::from_u32(colour);
            assert_eq!(Depth::True.nearest(colour), colour);
            assert_eq!(Depth::Indexed.nearest(colour), Color::Indexed(in_256), "{colour}");
            assert_eq!(Depth::Sixteen.nearest(colour), in_16, "{colour}");
        }
        for n in 16..=231 {
            assert_eq!(shown(n), rgb(indexed(shown(n))), "{n} is its own nearest");
        }
    }

    #[test]
    fn each_role_can_be_read_on_the_ground_that_its_theme_is_for() {
        for (theme, ground) in [(Theme::Dark, [0; 3]), (Theme::Light, [255; 3]), (Theme::ColourBlind, [0; 3])] {
            for depth in [Depth::True, Depth::Indexed] {
                let inks = Look::new(theme, depth).inks.unwrap();
                for (role, colour) in inks.roles.into_iter().chain(inks.dim).enumerate() {
                    let contrast = contrast(rgb(colour), ground);
                    assert!(contrast >= 4.5, "{theme:?} {depth:?} {role}: {colour} has {contrast:.1}");
                }
            }
        }
    }

    #[test]
    fn what_must_be_told_apart_has_colours_of_its_own() {
        for (_, theme) in THEMES.into_iter().filter(|(_, t)| *t != Theme::Mono) {
            for depth in [Depth::Sixteen, Depth::Indexed, Depth::True] {
                let [good, bad, warn, accent, stable, new, first, second, ..] =
                    Look::new(theme, depth).inks.unwrap().roles;
                let told = [good, bad, warn, accent];
                let apart = depth == Depth::Sixteen || (0..4).all(|i| (0..i).all(|j| told[i] != told[j]));
                assert!(apart && good != bad && good != warn, "{theme:?} {depth:?}: {told:?}");
                assert!(stable != new && first != second, "{theme:?} {depth:?}");
            }
        }
        let inks = Look::new(Theme::ColourBlind, Depth::True).inks.unwrap();
        let [good, bad, ..] = inks.roles.map(rgb);
        assert!(contrast(good, bad) >= 1.5, "good and bad differ in lightness too");
    }

    #[test]
    fn without_colours_shares_are_told_by_form() {
        let mut buffer = Buffer::with_lines(["█▇▄▃▁x"]);
        buffer.content.iter_mut().for_each(|c| c.fg = Role::New.colour());
        Look::new(Theme::Dark, Depth::None).dress(&mut buffer);
        assert_eq!(buffer, Buffer::with_lines(["▒▒▒██x"]));
        let mut buffer = Buffer::with_lines(["█"]);
        buffer[(0, 0)].fg = Role::Stable.colour();
        Look::new(Theme::Mono, Depth::True).dress(&mut buffer);
        assert_eq!(buffer, Buffer::with_lines(["█"]));
    }

    #[test]
    fn themes_are_named() {
        for (name, theme) in THEMES {
            assert_eq!((name.parse(), theme.name()), (Ok(theme), name));
        }
        assert!("drak".parse::<Theme>().unwrap_err().contains("colour-blind"));
    }
}
