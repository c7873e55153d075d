//! The name of the node.

use std::fs;

use super::ConfigError;

/// The host's name, as the kernel has it in this process's namespace.
pub(super) fn hostname() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/hostname").ok()
}

/// The name that is given, or else the host's: a Kubernetes name (a DNS subdomain), in lower case as
/// the kubelet makes it.
pub(super) fn resolve(given: Option<&str>, hostname: Option<&str>) -> Result<String, ConfigError> {
    // Without a name, the kernel says `(none)`.
    let hostname = hostname.map(str::trim).filter(|name| !name.is_empty() && *name != "(none)");
    let name = match (given, hostname) {
        (Some(given), _) => given.trim(),
        (None, Some(hostname)) => hostname,
        (None, None) => return Err(ConfigError::Missing { key: "node-name" }),
    };
    let lower = name.to_lowercase();
    let label_is_good = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if lower.len() <= 253 && lower.split('.').all(label_is_good) {
        Ok(lower)
    } else {
        Err(ConfigError::NodeName(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_over_the_hosts_name_without_blanks_and_in_lower_case() {
        let name = |given, hostname| resolve(given, hostname).map_err(|error| error.to_string());
        assert_eq!(name(Some(" Node-01.Example "), Some("host")).unwrap(), "node-01.example");
        assert_eq!(name(None, Some("Host\n")).unwrap(), "host");
        for hostname in [None, Some("\n"), Some("(none)\n")] {
            assert!(name(None, hostname).unwrap_err().starts_with("--node-name is missing"));
        }
        assert!(name(Some(" "), Some("host")).unwrap_err().starts_with("--node-name ``"));
        assert!(name(None, Some("my_host")).unwrap_err().starts_with("--node-name `my_host`"));
    }

    #[test]
    fn this_host_has_a_name() {
        assert!(resolve(None, hostname().as_deref()).is_ok());
    }
}
