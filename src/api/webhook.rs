//! Signatures of webhooks, in the header forms of GitHub and Gitea.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// A webhook's body may have this many bytes.
pub const MAX_BODY: usize = 1024 * 1024;

/// Why a webhook was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    #[error("no signature: set the same secret here and at the forge (X-Hub-Signature-256 or X-Gitea-Signature)")]
    Missing,
    #[error("the signature does not match the secret")]
    Wrong,
}

/// Checks a body against its signature; `header` gives a header's value by its lower-case name. Compares in constant time.
pub fn verify<'a>(secret: &[u8], header: impl Fn(&str) -> Option<&'a str>, body: &[u8]) -> Result<(), WebhookError> {
    let github = header("x-hub-signature-256").and_then(|v| v.strip_prefix("sha256="));
    let given = github.or_else(|| header("x-gitea-signature")).ok_or(WebhookError::Missing)?;
    let bytes = unhex(given).ok_or(WebhookError::Wrong)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| WebhookError::Wrong)?;
    mac.update(body);
    mac.verify_slice(&bytes).map_err(|_| WebhookError::Wrong)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim().as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of GitHub's documentation on validating webhook deliveries.
    const SECRET: &[u8] = b"It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const SIGNATURE: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn check(name: &str, value: &str, body: &[u8]) -> Result<(), WebhookError> {
        verify(SECRET, |n| (n == name).then_some(value), body)
    }

    #[test]
    fn both_forms_are_taken_and_nothing_else() {
        assert_eq!(check("x-hub-signature-256", &format!("sha256={SIGNATURE}"), BODY), Ok(()));
        assert_eq!(check("x-gitea-signature", SIGNATURE, BODY), Ok(()));
        assert_eq!(check("x-gitea-signature", SIGNATURE, b"Hello, World?"), Err(WebhookError::Wrong));
        assert_eq!(check("x-hub-signature-256", SIGNATURE, BODY), Err(WebhookError::Missing));
        assert_eq!(check("x-other", SIGNATURE, BODY), Err(WebhookError::Missing));
        for bad in ["", "zz", "75710", "éé"] {
            assert_eq!(check("x-gitea-signature", bad, BODY), Err(WebhookError::Wrong));
        }
    }
}
