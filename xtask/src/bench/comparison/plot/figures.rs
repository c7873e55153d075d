//! Which plots a run has.

use ::tests::contenders::Contender;

use super::{
    super::{
        metric::Metric,
        plan::{Path, Workload},
        results::Results,
    },
    bars::{self, Group},
    canvas::Axis,
    lines::{self, Line, Point, Words},
};

/// The plots' files.
pub(in super::super) const FILES: [&str; 5] = [
    "one-node.svg",
    "connections-by-services.svg",
    "first-packet-by-services.svg",
    "connections-by-way.svg",
    "request-response-by-way.svg",
];

/// Who is drawn, in the order of their colours.
const SERIES: [Contender; 5] = [
    Contender::Bridge,
    Contender::IptablesLegacy,
    Contender::IptablesNft,
    Contender::Nftables,
    Contender::Shunt,
];

/// All plots: each file's name and text.
pub(in super::super) fn draw(results: &Results) -> [(&'static str, String); 5] {
    let [one_node, connections, first_packet, by_way, established] = FILES;
    [
        (one_node, workloads(results)),
        (connections, rates_by_services(results)),
        (first_packet, first_packets(results)),
        (by_way, ways(results, Workload::Connections)),
        (established, ways(results, Workload::TcpExchanges)),
    ]
}

fn names() -> [&'static str; 5] {
    SERIES.map(Contender::name)
}

fn group(results: &Results, name: &str, path: Path, workload: Workload) -> Group {
    let size = results.sizes(path, workload).first().copied().unwrap_or(0);
    let bar =
        |contender| results.cell(path, workload, Metric::Rate, contender, size)?.against_limit;
    Group { name: name.to_owned(), bars: SERIES.map(bar).into() }
}

fn workloads(results: &Results) -> String {
    let groups = [
        (Workload::TcpExchanges, "TCP req.-resp."),
        (Workload::UdpExchanges, "UDP req.-resp."),
        (Workload::Connections, "connect-req.-close"),
        (Workload::OneStream, "one stream"),
        (Workload::EightStreams, "eight streams"),
        (Workload::Datagrams, "small datagrams"),
    ];
    let groups = groups.map(|(workload, name)| group(results, name, Path::Pod, workload));
    bars::draw(
        "From a pod to a Service on its node, 10 Services",
        "rate against the raw veth pair",
        &names(),
        &groups,
    )
}

fn ways(results: &Results, workload: Workload) -> String {
    let groups = Path::ALL.map(|path| group(results, path.name(), path, workload));
    let what = match workload {
        Workload::Connections => "Connect-request-close",
        _ => "TCP request-response",
    };
    bars::draw(
        &format!("{what} by way, 10 Services"),
        "rate against the raw veth pair",
        &names(),
        &groups,
    )
}

fn line(
    results: &Results,
    series: usize,
    contender: Contender,
    metric: Metric,
    class: &'static str,
) -> Line {
    let sizes = results.sizes(Path::Pod, Workload::Connections);
    let point = |services: &u32| {
        let cell = results.cell(Path::Pod, Workload::Connections, metric, contender, *services)?;
        let (value, interval) = match metric {
            Metric::Rate => (cell.against_limit?.median, cell.against_limit),
            _ => (cell.median, None),
        };
        Some(Point { services: *services, value, interval })
    };
    Line { series, class, points: sizes.iter().filter_map(point).collect() }
}

fn rates_by_services(results: &Results) -> String {
    let sizes = results.sizes(Path::Pod, Workload::Connections);
    let lines: Vec<Line> = SERIES
        .iter()
        .enumerate()
        .map(|(series, contender)| line(results, series, *contender, Metric::Rate, "most"))
        .collect();
    let words = Words {
        title: "Connect-request-close from a pod to Services on its node",
        vertical: "rate against the raw veth pair",
        horizontal: "number of Services",
        series: &names(),
    };
    lines::draw(&words, Axis::from_zero(1.0), &sizes, &lines)
}

fn first_packets(results: &Results) -> String {
    let sizes = results.sizes(Path::Pod, Workload::Connections);
    let lines: Vec<Line> = SERIES
        .iter()
        .enumerate()
        .flat_map(|(series, contender)| {
            [(Metric::FirstPacketMedian, "most"), (Metric::FirstPacketTail, "tail")]
                .map(|(metric, class)| line(results, series, *contender, metric, class))
        })
        .collect();
    let values = || lines.iter().flat_map(|line| line.points.iter().map(|point| point.value));
    let axis =
        Axis::logarithmic(values().fold(f64::MAX, f64::min), values().fold(f64::MIN, f64::max));
    let words = Words {
        title: "A new connection's first packet, there and back",
        vertical: "microseconds",
        horizontal: "number of Services; solid: half of all flows, dashed: 99 in a hundred",
        series: &names(),
    };
    lines::draw(&words, axis, &sizes, &lines)
}
