//! `shunt-cni`, the CNI plugin, as far as this version goes: it says that it makes no pods.
//!
//! Protocol: CNI specification 1.1.0. Results and errors are JSON on standard output. DEL succeeds
//! once its variables are there: this plugin has never made anything, and runtimes repeat a failed
//! DEL for ever.

use serde_json::{Value, json};

/// Versions of the specification, oldest first.
const SUPPORTED: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// The version of answers to a runtime that names none.
const CURRENT: &str = "1.1.0";

/// An error of the specification.
struct CniError {
    code: u32,
    msg: String,
    details: &'static str,
}

/// What the plugin prints, and whether it exits with 0.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The text for standard output; may be empty.
    pub stdout: String,
    /// Whether the command was done.
    pub success: bool,
}

/// Answers a command. `variable` looks up environment variables; `stdin` is the network
/// configuration.
pub fn answer(variable: impl Fn(&str) -> Option<String>, stdin: &str) -> Answer {
    let configuration = serde_json::from_str::<Value>(stdin).ok();
    let version = configuration
        .as_ref()
        .and_then(|configuration| configuration.get("cniVersion")?.as_str())
        .unwrap_or(CURRENT);
    match result(variable, configuration.as_ref(), version) {
        Ok(None) => Answer { stdout: String::new(), success: true },
        Ok(Some(result)) => Answer { stdout: format!("{result:#}\n"), success: true },
        Err(CniError { code, msg, details }) => {
            let error =
                json!({ "cniVersion": version, "code": code, "msg": msg, "details": details });
            Answer { stdout: format!("{error:#}\n"), success: false }
        }
    }
}

fn result(
    variable: impl Fn(&str) -> Option<String>,
    configuration: Option<&Value>,
    version: &str,
) -> Result<Option<Value>, CniError> {
    let error = |code, msg: String| Err(CniError { code, msg, details: "" });
    let is_missing = |name: &&str| variable(name).is_none_or(|value| value.is_empty());
    let command = variable("CNI_COMMAND").unwrap_or_default();
    let (since, required): (&str, &[&str]) = match command.as_str() {
        "VERSION" => {
            return Ok(Some(json!({ "cniVersion": version, "supportedVersions": SUPPORTED })));
        }
        "ADD" => (SUPPORTED[0], &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]),
        "CHECK" => ("0.4.0", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]),
        "DEL" => (SUPPORTED[0], &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"]),
        "GC" | "STATUS" => ("1.1.0", &["CNI_PATH"]),
        "" => ("", &["CNI_COMMAND"]),
        unknown => return error(4, format!("unknown CNI_COMMAND: {unknown}")),
    };
    let missing: Vec<_> = required.iter().copied().filter(is_missing).collect();
    if !missing.is_empty() {
        let missing = missing.join(",");
        return error(4, format!("required env variables [{missing}] missing"));
    }
    if configuration.is_none() {
        return error(6, "the network configuration on standard input is no JSON".to_owned());
    }
    let order = |version| SUPPORTED.iter().position(|&supported| supported == version);
    match order(version) {
        None => {
            let supported = SUPPORTED.join(", ");
            return error(1, format!("cniVersion {version} is not one of {supported}"));
        }
        number if number < order(since) => {
            return error(1, format!("cniVersion {version} does not allow {command}"));
        }
        Some(_) if command == "DEL" => return Ok(None),
        Some(_) => {}
    }
    Err(CniError {
        code: if command == "STATUS" { 50 } else { 11 },
        msg: format!("shunt-cni {} does not serve {command}", env!("CARGO_PKG_VERSION")),
        details: "this version's agent makes the pods of its manifests only \
                  (shunt agent --manifests DIR)",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURATION: &str = r#"{"cniVersion":"1.1.0","name":"pods","type":"shunt-cni"}"#;

    fn ask(variables: &str, stdin: &str) -> (bool, Value) {
        let lookup = |name: &str| {
            let mut pairs = variables.split(' ').filter_map(|pair| pair.split_once('='));
            pairs.find(|&(key, _)| key == name).map(|(_, value)| value.to_owned())
        };
        let Answer { stdout, success } = answer(lookup, stdin);
        (success, serde_json::from_str(&stdout).unwrap_or(Value::Null))
    }

    const POD: &str = "CNI_CONTAINERID=a CNI_NETNS=/n CNI_IFNAME=eth0 CNI_PATH=/p";

    #[test]
    fn version_needs_nothing_and_echoes_the_version() {
        let (success, result) = ask("CNI_COMMAND=VERSION", r#"{"cniVersion":"0.4.0"}"#);
        assert!(success);
        assert_eq!(result["cniVersion"], "0.4.0");
        assert_eq!(result["supportedVersions"], json!(SUPPORTED));
        assert_eq!(ask("CNI_COMMAND=VERSION", "").1["cniVersion"], CURRENT);
    }

    #[test]
    fn missing_variables_are_named_in_one_error() {
        let (success, error) = ask("CNI_COMMAND=ADD CNI_NETNS=/n", CONFIGURATION);
        assert!(!success);
        assert_eq!(error["code"], 4);
        assert_eq!(
            error["msg"],
            "required env variables [CNI_CONTAINERID,CNI_IFNAME,CNI_PATH] missing"
        );
        assert_eq!(ask("", "").1["msg"], "required env variables [CNI_COMMAND] missing");
        assert_eq!(ask("CNI_COMMAND=MAKE", "").1["code"], 4);
    }

    #[test]
    fn what_this_version_does_not_serve_is_refused_and_del_is_done() {
        let code = |command: &str| {
            let (success, error) = ask(&format!("CNI_COMMAND={command} {POD}"), CONFIGURATION);
            assert_eq!(error["cniVersion"], if success { Value::Null } else { "1.1.0".into() });
            (success, error["code"].as_u64())
        };
        assert_eq!(code("ADD"), (false, Some(11)));
        assert_eq!(code("CHECK"), (false, Some(11)));
        assert_eq!(code("GC"), (false, Some(11)));
        assert_eq!(code("STATUS"), (false, Some(50)));
        assert_eq!(code("DEL"), (true, None));
    }

    #[test]
    fn configurations_of_other_versions_are_refused() {
        let code = |command: &str, stdin: &str| {
            ask(&format!("CNI_COMMAND={command} {POD}"), stdin).1["code"].as_u64()
        };
        assert_eq!(code("ADD", "no json"), Some(6));
        assert_eq!(code("ADD", r#"{"cniVersion":"2.0.0"}"#), Some(1));
        assert_eq!(code("STATUS", r#"{"cniVersion":"1.0.0"}"#), Some(1));
        assert_eq!(code("CHECK", r#"{"cniVersion":"0.3.1"}"#), Some(1));
    }
}
