//! Secrets out of a stream of output, also when they are split across reads.

const HIDDEN: &[u8] = b"***";

/// Replaces secrets in what passes through.
#[derive(Debug)]
pub struct Mask {
    secrets: Vec<Vec<u8>>,
    /// The tail that may be the beginning of a secret.
    held: Vec<u8>,
}

impl Mask {
    /// For these values; shorter than four bytes they would hide half the log and are left alone.
    pub fn new(values: &[String]) -> Self {
        const SHORTEST: usize = 4;
        let mut secrets: Vec<Vec<u8>> =
            values.iter().filter(|v| v.len() >= SHORTEST).map(|v| v.clone().into_bytes()).collect();
        secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
        Self { secrets, held: vec![] }
    }

    /// What may be written after these bytes came.
    pub fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.replace(bytes, true)
    }

    /// `more`: a tail that may be the beginning of a secret is held back.
    fn replace(&mut self, bytes: &[u8], more: bool) -> Vec<u8> {
        let mut input = std::mem::take(&mut self.held);
        input.extend_from_slice(bytes);
        let (mut out, mut at) = (Vec::with_capacity(input.len()), 0);
        while at < input.len() {
            let rest = &input[at..];
            // Before the match: one secret may begin with another.
            if more && self.secrets.iter().any(|s| s.len() > rest.len() && s.starts_with(rest)) {
                self.held = rest.to_vec();
                return out;
            }
            if let Some(secret) = self.secrets.iter().find(|s| rest.starts_with(s)) {
                out.extend_from_slice(HIDDEN);
                at += secret.len();
            } else {
                out.push(input[at]);
                at += 1;
            }
        }
        out
    }

    /// What was held back, at the end of the stream.
    pub fn end(&mut self) -> Vec<u8> {
        self.replace(&[], false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_however_it_is_cut() {
        let text = b"key=hunter2hunter, again hunter2hunter\nhunt";
        for cut in 0..text.len() {
            for second in cut..text.len() {
                let mut mask = Mask::new(&["hunter2hunter".into(), "x".into()]);
                let mut out = mask.pass(&text[..cut]);
                out.extend(mask.pass(&text[cut..second]));
                out.extend(mask.pass(&text[second..]));
                out.extend(mask.end());
                assert_eq!(String::from_utf8(out).unwrap(), "key=***, again ***\nhunt");
            }
        }
    }

    #[test]
    fn a_secret_that_begins_another_does_not_give_its_tail_away() {
        let mut mask = Mask::new(&["hunter".into(), "hunter2long".into()]);
        let mut out = mask.pass(b"hunter2");
        out.extend(mask.pass(b"long hunter"));
        out.extend(mask.end());
        assert_eq!(String::from_utf8(out).unwrap(), "*** ***");
    }
}
