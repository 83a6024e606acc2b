//! Names for runs that were given none: `calm-otter-12`.

const MANNERS: &[&str] = &[
    "able", "agile", "amber", "bold", "brave", "bright", "brisk", "calm", "candid", "careful", "clever", "crisp",
    "curious", "deft", "eager", "early", "exact", "fair", "fleet", "gentle", "glad", "golden", "grand", "handy",
    "honest", "keen", "kind", "light", "lively", "loyal", "lucid", "merry", "mild", "modest", "neat", "nimble",
    "noble", "patient", "placid", "plucky", "polite", "proud", "quick", "quiet", "rapid", "ready", "sage", "serene",
    "sharp", "silent", "sleek", "smooth", "solid", "spry", "steady", "stout", "sunny", "swift", "tidy", "true",
    "vivid", "warm", "wise", "witty",
];
const ANIMALS: &[&str] = &[
    "auk", "badger", "bat", "bear", "bee", "bison", "boar", "carp", "cat", "civet", "cod", "colt", "crab", "crane",
    "crow", "deer", "dingo", "dove", "duck", "eel", "elk", "falcon", "fawn", "finch", "fox", "frog", "gnu", "goat",
    "goose", "grouse", "gull", "hare", "hawk", "heron", "horse", "ibex", "jay", "kite", "koi", "lark", "lemur", "lynx",
    "mink", "mole", "moose", "moth", "newt", "orca", "otter", "owl", "panda", "perch", "pike", "quail", "rook", "seal",
    "shrew", "smelt", "snail", "stork", "swan", "tern", "toad", "trout", "vole", "wren",
];

/// A name from a random number.
pub fn invent(random: u64) -> String {
    let pick = |words: &[&'static str], number: u64| words[(number % words.len() as u64) as usize];
    format!("{}-{}-{}", pick(MANNERS, random), pick(ANIMALS, random >> 16), (random >> 32) % 1000)
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_differ_and_are_plain() {
        assert_eq!(super::invent(0), "able-auk-0");
        assert_eq!(super::invent(u64::MAX), "witty-smelt-295");
    }
}
