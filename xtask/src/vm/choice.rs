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
const OF_EVERY_RUN: [(&str, &[&str]); 14] = [
    ("the verifier", &[OF_THE_VERIFIER]),
    (
        "every branch, by packets that nobody sent",
        &[
            "program_run::tables::the_kernel_agrees_with_the_tables_and_with_native_code",
            "program_run::xdp::flows_to_other_machines_are_handled_as_tc_would_and_no_others",
            "program_run::xdp::of_what_comes_in_vxlan_only_answers_to_clients_outside_are_taken",
            "program_run::sockets::sockets_stay_with_the_backend_of_their_address",
        ],
    ),
    (
        "from pods into pods of the same node: tc_pod_ingress, way Pod",
        &[
            "namespaces::cluster_ip::a_pod_reaches_every_backend_and_keeps_its_address",
            "namespaces::fragments::large_datagrams_reach_a_backend_of_the_same_node",
            "namespaces::sctp::a_cluster_ip_reaches_a_backend_of_the_same_node_on_each_of_its_ports",
        ],
    ),
    (
        "refusals, and ICMP",
        &[
            "namespaces::refusal::a_service_without_endpoints_refuses_tcp_and_udp",
            "namespaces::refusal::a_ping_of_a_cluster_ip_is_told_unreachable",
        ],
    ),
    (
        "the node's own processes: the cgroup's programs",
        &[
            "namespaces::node_client::tcp_and_udp_reach_the_service_without_a_default_route",
            "namespaces::node_client::unconnected_udp_gets_its_reply_from_the_cluster_ip",
            "namespaces::node_client_lost_backend::tcp_and_udp_are_ended_when_their_pod_is_gone",
        ],
    ),
    (
        "answers of the node itself: tc_bridge_egress, tc_uplink_egress, way Stack",
        &["namespaces::host_network::they_are_reached_at_every_address_with_the_overlay"],
    ),
    (
        "the overlay: tc_overlay_ingress, tc_overlay_egress, way Tunnel",
        &[
            "namespaces::cross_node::pods_of_two_nodes_reach_each_other_through_the_overlay",
            "namespaces::path_mtu::transfers_between_nodes_fit_a_narrow_link_between_them",
        ],
    ),
    (
        "routes between nodes: way Route",
        &["namespaces::cross_node::pods_of_two_nodes_reach_each_other_by_routes_of_the_agents"],
    ),
    (
        "from outside: tc_uplink_ingress, way Hand",
        &[
            "namespaces::node_port::a_node_port_works_on_nodes_with_and_without_a_backend_through_the_overlay",
            "namespaces::node_port::a_node_port_works_on_nodes_with_and_without_a_backend_by_direct_routes",
            "namespaces::dsr::the_client_hears_the_service_and_the_first_node_no_answer",
            "namespaces::sctp::a_node_port_works_from_outside_on_each_node_through_the_overlay",
        ],
    ),
    (
        "to the outside: masquerade, way Outside",
        &[
            "namespaces::masquerade::the_outside_sees_the_nodes_address",
            "namespaces::fragments::large_datagrams_are_masqueraded",
        ],
    ),
    (
        "in the driver: xdp_ingress",
        &[
            "namespaces::xdp_uplink::in_the_driver_node_ports_work_through_the_overlay",
            "namespaces::xdp_uplink::the_kernels_generic_xdp_serves_too",
        ],
    ),
    (
        "rules of Services",
        &[
            "namespaces::affinity::a_client_meets_one_endpoint_of_a_port_by_all_of_its_addresses",
            "namespaces::host_port::everybody_reaches_the_pod_by_direct_routes",
        ],
    ),
    (
        "programs that are attached, replaced and removed",
        &[
            "namespaces::clsact::services_are_served_and_cleanup_leaves_nothing",
            "namespaces::clsact::nothing_is_left_on_an_uplink_but_a_qdisc_that_was_there_before",
            "namespaces::restart::a_kill_and_a_start_disturb_no_packet",
            "namespaces::cleanup::after_a_kill_the_node_is_as_before",
        ],
    ),
    (
        "containers of a runtime",
        &[
            "cni::attaching::an_attached_container_has_all_that_its_result_says",
            "cni::traffic::a_container_is_an_endpoint_until_it_is_deleted",
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
