//! Every field of v1alpha1, and what is said of those that shunt has no setting for.

use serde_yaml_ng::Value;

use super::{
    document::{Document, shown},
    duration,
};

/// What is made of a field.
enum Field {
    /// A setting, by [`super::mapping`].
    Carried,
    /// Nothing: kube-proxy's default, beside nothing, and what is so with shunt.
    NotCarried(&'static str, &'static str),
}

use Field::{Carried, NotCarried};

const NO_CONNTRACK: &str = "shunt has its own connection table, whose size --max-connections sets \
                            and whose timeouts are not settings";
const NO_RULES: &str = "shunt makes no rules that could be marked by it";
const AT_ONCE: &str = "shunt puts changes in force at once";
const NO_IPVS: &str = "shunt does not use IPVS: it chooses endpoints at random, and by Maglev for \
                       what comes from outside";
const LOG: &str = "--log says how much is said";
const API: &str = "shunt watches the API server in JSON, at its own pace";
const WINDOWS: &str = "shunt runs on Linux";

const FIELDS: &[(&str, Field)] = &[
    ("bindAddress", Carried),
    ("bindAddressHardFail", Carried),
    ("clientConnection.acceptContentTypes", NotCarried("", API)),
    ("clientConnection.burst", NotCarried("10", API)),
    ("clientConnection.contentType", NotCarried("application/vnd.kubernetes.protobuf", API)),
    ("clientConnection.kubeconfig", Carried),
    ("clientConnection.qps", NotCarried("5", API)),
    ("clusterCIDR", Carried),
    ("configSyncPeriod", NotCarried("15m", "shunt keeps nothing that could be gone through anew")),
    ("conntrack.maxPerCore", NotCarried("32768", NO_CONNTRACK)),
    ("conntrack.min", NotCarried("131072", NO_CONNTRACK)),
    (
        "conntrack.tcpBeLiberal",
        NotCarried("false", "shunt drops no packets for their sequence numbers"),
    ),
    ("conntrack.tcpCloseWaitTimeout", NotCarried("1h", NO_CONNTRACK)),
    ("conntrack.tcpEstablishedTimeout", NotCarried("24h", NO_CONNTRACK)),
    ("conntrack.udpStreamTimeout", NotCarried("", NO_CONNTRACK)),
    ("conntrack.udpTimeout", NotCarried("", NO_CONNTRACK)),
    ("detectLocal.bridgeInterface", Carried),
    ("detectLocal.interfaceNamePrefix", Carried),
    ("detectLocalMode", Carried),
    ("enableProfiling", NotCarried("false", "the agent serves no profiles")),
    ("featureGates", NotCarried("", "shunt has none of kube-proxy's features to switch")),
    ("healthzBindAddress", Carried),
    ("hostnameOverride", Carried),
    ("iptables.localhostNodePorts", Carried),
    ("iptables.masqueradeAll", Carried),
    ("iptables.masqueradeBit", NotCarried("14", NO_RULES)),
    ("iptables.minSyncPeriod", NotCarried("1s", AT_ONCE)),
    (
        "iptables.snatNodeInternalIP",
        NotCarried(
            "false",
            "masqueraded packets get the InternalIP where the uplink has it, anyway",
        ),
    ),
    ("iptables.syncPeriod", Carried),
    ("ipvs.excludeCIDRs", NotCarried("", NO_IPVS)),
    ("ipvs.minSyncPeriod", NotCarried("1s", AT_ONCE)),
    ("ipvs.scheduler", NotCarried("", NO_IPVS)),
    (
        "ipvs.strictARP",
        NotCarried(
            "false",
            "shunt puts no service address on an interface, so there is nothing to answer ARP for",
        ),
    ),
    ("ipvs.syncPeriod", Carried),
    ("ipvs.tcpFinTimeout", NotCarried("", NO_IPVS)),
    ("ipvs.tcpTimeout", NotCarried("", NO_IPVS)),
    ("ipvs.udpTimeout", NotCarried("", NO_IPVS)),
    ("logging.flushFrequency", NotCarried("5s", LOG)),
    ("logging.format", NotCarried("text", LOG)),
    ("logging.options.json.infoBufferSize", NotCarried("0", LOG)),
    ("logging.options.json.splitStream", NotCarried("false", LOG)),
    ("logging.options.text.infoBufferSize", NotCarried("0", LOG)),
    ("logging.options.text.splitStream", NotCarried("false", LOG)),
    ("logging.verbosity", NotCarried("0", LOG)),
    ("logging.vmodule", NotCarried("", LOG)),
    ("metricsBindAddress", Carried),
    ("mode", Carried),
    ("nftables.masqueradeAll", Carried),
    ("nftables.masqueradeBit", NotCarried("14", NO_RULES)),
    ("nftables.minSyncPeriod", NotCarried("1s", AT_ONCE)),
    ("nftables.syncPeriod", Carried),
    ("nodePortAddresses", Carried),
    (
        "oomScoreAdj",
        NotCarried(
            "-999",
            "set OOMScoreAdjust= of the agent's unit, or the priority class of its pod",
        ),
    ),
    ("portRange", NotCarried("", "kube-proxy does not use it either")),
    ("showHiddenMetricsForVersion", NotCarried("", "shunt hides no metrics")),
    ("winkernel.enableDSR", NotCarried("false", WINDOWS)),
    ("winkernel.forwardHealthCheckVip", NotCarried("false", WINDOWS)),
    ("winkernel.networkName", NotCarried("", WINDOWS)),
    ("winkernel.rootHnsEndpointName", NotCarried("", WINDOWS)),
    ("winkernel.sourceVip", NotCarried("", WINDOWS)),
    ("windowsRunAsService", NotCarried("false", WINDOWS)),
];

/// What is to be said: a warning for each field that is not carried and has another value than by
/// default, and for each that is unknown.
pub(super) fn not_carried(document: &Document) -> Vec<String> {
    document.0.iter().filter_map(|(path, value)| warning(path, value)).collect()
}

fn warning(path: &str, value: &Value) -> Option<String> {
    match FIELDS.iter().find(|(known, _)| *known == path) {
        Some((_, Carried)) => None,
        Some((_, NotCarried(default, _))) if is(value, default) => None,
        Some((_, NotCarried(_, instead))) => {
            Some(format!("{path}: {} is not carried over: {instead}", shown(value)))
        }
        None => {
            let near = FIELDS
                .iter()
                .map(|(known, _)| (strsim::jaro_winkler(known, path), *known))
                .filter(|(likeness, _)| *likeness > 0.8)
                .max_by(|(one, _), (other, _)| one.total_cmp(other));
            let meant = near.map(|(_, known)| format!("; did you mean {known}?"));
            Some(format!(
                "{path} is no field of a KubeProxyConfiguration, and has no effect{}",
                meant.unwrap_or_default()
            ))
        }
    }
}

/// Whether a value is the same as a text, or the same duration.
fn is(value: &Value, default: &str) -> bool {
    let text = shown(value);
    let both = || Some((duration::parse(&text)?, duration::parse(default)?));
    text == default || both().is_some_and(|(one, other)| one == other)
}
