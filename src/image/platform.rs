//! Which machine an image is made for.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// An operating system, an architecture and perhaps a variant, in Go's names (OCI image-spec 1.1, image-index.md):
/// `linux/amd64`, `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, ...
    pub architecture: String,
    /// `v7`, ...
    pub variant: Option<String>,
}

/// Why a text is not a [`Platform`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a platform\nhint: write OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, such as linux/arm64")]
pub struct PlatformError(String);

impl Platform {
    /// The platform that this program runs on.
    pub fn of_this_machine() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", None),
            "x86" => ("386", None),
            "arm" => ("arm", Some("v7")),
            "powerpc64" => ("ppc64le", None),
            other => (other, None),
        };
        Platform { os: "linux".into(), architecture: architecture.into(), variant: variant.map(String::from) }
    }

    /// The platform that a document names in `os`, `architecture` and `variant`: an image config, or `platform` of a
    /// descriptor. `None` when it does not.
    pub(super) fn of_document(document: &Value) -> Option<Self> {
        let text = |key: &str| document[key].as_str().filter(|s| !s.is_empty()).map(String::from);
        Some(Platform { os: text("os")?, architecture: text("architecture")?, variant: text("variant") })
    }

    /// Whether this platform runs an image for `offered`.
    pub fn runs(&self, offered: &Platform) -> bool {
        self.rank(offered).is_some()
    }

    /// How well an image for `offered` serves this platform: a lower number is better, `None` is not at all.
    pub(super) fn rank(&self, offered: &Platform) -> Option<u32> {
        if self.os != offered.os || self.architecture != offered.architecture {
            return None;
        }
        let version = |platform: &Platform| -> Option<u32> {
            // arm64 has only one variant in use, and may say so or not.
            let default = if self.architecture == "arm64" { 8 } else { 0 };
            platform.variant.as_deref().map_or(Some(default), |v| v.strip_prefix('v')?.parse().ok())
        };
        match (version(self), version(offered)) {
            _ if self.variant == offered.variant => Some(0),
            // Without a wish the plainest will do.
            (Some(0), Some(have)) if self.variant.is_none() => Some(1 + have),
            // A newer machine runs what was made for an older one.
            (Some(want), Some(have)) if have <= want => Some(1 + want - have),
            _ => None,
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(PlatformError(text.into()));
        }
        let (os, architecture, variant) = match parts.as_slice() {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant.to_string())),
            _ => return Err(PlatformError(text.into())),
        };
        Ok(Platform { os: os.to_string(), architecture: architecture.to_string(), variant })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_offer_comes_first() {
        for (want, offers, best) in [
            ("linux/amd64", &["linux/arm64", "linux/amd64"][..], Some("linux/amd64")),
            ("linux/amd64", &["linux/amd64/v3", "linux/amd64/v2"], Some("linux/amd64/v2")),
            ("linux/arm64", &["linux/arm64/v8"], Some("linux/arm64/v8")),
            ("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6", "linux/arm64"], Some("linux/arm/v6")),
            ("linux/arm/v6", &["linux/arm/v7"], None),
            ("linux/amd64", &["windows/amd64"], None),
            ("linux/arm64/v9", &["linux/arm64"], Some("linux/arm64")),
        ] {
            let want: Platform = want.parse().unwrap();
            let offers: Vec<Platform> = offers.iter().map(|o| o.parse().unwrap()).collect();
            let found = offers.iter().filter_map(|o| Some((want.rank(o)?, o))).min_by_key(|(rank, _)| *rank);
            assert_eq!(found.map(|(_, o)| o.to_string()).as_deref(), best, "{want}");
        }
    }

    #[test]
    fn platforms_have_two_or_three_parts() {
        for bad in ["", "linux", "linux/", "/amd64", "a/b/c/d"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }
}
