//! The tests of every run.
//!
//! A run of all takes hours where instructions are translated, most of it in the verifier: each agent
//! that starts has it look at every program. These are those that meet each hook, each way for
//! packets to leave by, each protocol and each family at least once (most ask everything of both
//! families), the tables of packets, in which every branch is, and what depends on the kernel rather
//! than on packets: how programs are attached, replaced and removed, and sockets ended.

use super::job::Choice;

/// The test that says what programs cost the verifier, and writes it down.
const OF_THE_VERIFIER: &str =
    "verifier::no_program_costs_the_verifier_a_tenth_more_than_is_written_down";

/// Tests, with what they are there for.
const OF_EVERY_RUN: [(&str, &[&str]); 10] = [
    ("the verifier", &[OF_THE_VERIFIER]),
    (
        "every branch, by packets that nobody sent",
        &[
            "program_run::tables::the_kernel_agrees_with_the_tables_and_with_native_code",
            "program_run::sockets::sockets_stay_with_the_backend_of_their_address",
        ],
    ),
    (
        "from pods into pods of the same node: tc_pod_ingress, way Pod",
        &["namespaces::cluster_ip::a_pod_reaches_every_backend_and_keeps_its_address"],
    ),
    (
        "refusals, and ICMP",
        &["namespaces::refusal::a_service_without_endpoints_refuses_tcp_and_udp"],
    ),
    (
        "the node's own processes: the cgroup's programs, sockets that are ended",
        &["namespaces::node_client_lost_backend::tcp_and_udp_are_ended_when_their_pod_is_gone"],
    ),
    (
        "answers of the node itself, routes: tc_bridge_egress, tc_uplink_egress, ways Stack and Route",
        &["namespaces::host_network::they_are_reached_at_every_address_with_direct_routes"],
    ),
    (
        "SCTP, and from outside to both nodes: tc_uplink_ingress, tc_overlay_ingress, \
         tc_overlay_egress, way Tunnel",
        &["namespaces::sctp::a_node_port_works_from_outside_on_each_node_through_the_overlay"],
    ),
    (
        "direct server return: way Hand",
        &["namespaces::dsr::the_client_hears_the_service_and_the_first_node_no_answer"],
    ),
    (
        "to the outside, in fragments: masquerade, way Outside",
        &["namespaces::fragments::large_datagrams_are_masqueraded"],
    ),
    (
        "in the driver, and programs that are attached, replaced and removed",
        &[
            "namespaces::xdp_uplink::in_the_driver_node_ports_work_through_the_overlay",
            "namespaces::clsact::services_are_served_and_cleanup_leaves_nothing",
            "namespaces::restart::a_kill_and_a_start_disturb_no_packet",
        ],
    ),
];

/// The tests of every run.
pub(super) fn of_every_run() -> Choice {
    let names = OF_EVERY_RUN.iter().flat_map(|(_, names)| *names);
    Choice::Named(names.map(|&name| name.to_owned()).collect())
}

/// What is asked where the verifier's costs are written down.
pub(super) fn of_the_verifier() -> Choice {
    Choice::Named(vec![OF_THE_VERIFIER.to_owned()])
}

/// What is asked where instructions are counted.
pub(super) fn of_instructions() -> Choice {
    let name = "program_cost::instructions::packets_cost_as_many_instructions_as_are_recorded";
    Choice::Named(vec![name.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_test_is_named_twice() {
        let Choice::Named(mut names) = of_every_run() else { panic!("names") };
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
