//! The domain of the cluster.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The domain that the cluster's names are in: `cluster.local`. In lower case, without a dot at its
/// end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterDomain(String);

/// A text is no domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no domain for a cluster: write labels of letters, digits and `-` with dots between \
     them, at most {longest} characters, as in cluster.local",
    longest = ClusterDomain::LONGEST
)]
pub struct InvalidDomain(String);

impl ClusterDomain {
    /// The longest one: with it the longest name of an endpoint,
    /// `<hostname>.<service>.<namespace>.svc.<domain>`, has 255 bytes, which is all that a name may
    /// have.
    pub const LONGEST: usize = 57;

    /// The domain.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its labels, from left to right.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }
}

impl Default for ClusterDomain {
    /// The domain that Kubernetes has by default.
    fn default() -> Self {
        Self("cluster.local".to_owned())
    }
}

impl FromStr for ClusterDomain {
    type Err = InvalidDomain;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let domain = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let is_good = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if domain.len() <= Self::LONGEST && domain.split('.').all(is_good) {
            Ok(Self(domain))
        } else {
            Err(InvalidDomain(text.to_owned()))
        }
    }
}

impl TryFrom<String> for ClusterDomain {
    type Error = InvalidDomain;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ClusterDomain> for String {
    fn from(domain: ClusterDomain) -> Self {
        domain.0
    }
}

impl fmt::Display for ClusterDomain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_labels_with_dots_between_them() {
        for (text, domain) in [
            ("cluster.local", "cluster.local"),
            ("Cluster.Local.", "cluster.local"),
            ("k8s", "k8s"),
            ("a-1.b", "a-1.b"),
        ] {
            assert_eq!(text.parse::<ClusterDomain>().unwrap().as_str(), domain);
        }
        let long = format!("{}.local", "a".repeat(52));
        for bad in ["", ".", "a..b", "-a", "a-", "a_b", "a b", "ä", &long] {
            let error = bad.parse::<ClusterDomain>().unwrap_err().to_string();
            assert!(error.contains("as in cluster.local"), "{bad}");
        }
    }
}
