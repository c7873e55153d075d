//! How long changes take where there is much. Prints, asserts nothing:
//! `cargo test -p userspace --lib scale -- --ignored --nocapture`.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Instant,
};

use maps_schema::{
    address::{Family, Protocol},
    service::{AddressRole, Backend, BackendId, ServiceId, ServiceRecord, Slot, WhenEmpty},
};

use crate::{
    cluster::model::ObjectName,
    compile::{CompiledPort, CompiledService, ServicePortName},
    sync::{
        Sync,
        tables::{FrontendAddress, ServiceTables, TableError},
    },
};

const SERVICES: u32 = 50_000;
const ENDPOINTS: u32 = 10;

/// Tables that nobody looks at.
#[derive(Debug)]
struct Plain {
    frontends: std::collections::HashMap<FrontendAddress, ServiceId>,
    addresses: std::collections::HashMap<IpAddr, AddressRole>,
    records: Vec<ServiceRecord>,
    slots: Vec<BackendId>,
    backends: Vec<Backend>,
}

impl ServiceTables for Plain {
    fn capacity(&self) -> (u32, u32, u32) {
        (SERVICES, SERVICES * ENDPOINTS * 2, SERVICES * ENDPOINTS * 2)
    }
    fn put_backend(&mut self, id: BackendId, backend: Backend) {
        self.backends[id.0 as usize] = backend;
    }
    fn put_slot(&mut self, slot: Slot, backend: BackendId) {
        self.slots[slot.0 as usize] = backend;
    }
    fn put_record(&mut self, service: ServiceId, record: ServiceRecord) {
        self.records[service.0 as usize] = record;
    }
    fn put_frontend(
        &mut self,
        frontend: FrontendAddress,
        service: ServiceId,
    ) -> Result<(), TableError> {
        self.frontends.insert(frontend, service);
        Ok(())
    }
    fn remove_frontend(&mut self, frontend: FrontendAddress) -> Result<(), TableError> {
        self.frontends.remove(&frontend);
        Ok(())
    }
    fn put_address(&mut self, address: IpAddr, role: AddressRole) -> Result<(), TableError> {
        self.addresses.insert(address, role);
        Ok(())
    }
    fn remove_address(&mut self, address: IpAddr) -> Result<(), TableError> {
        self.addresses.remove(&address);
        Ok(())
    }
    fn put_namespace(&mut self, _cookie: u64) -> Result<(), TableError> {
        Ok(())
    }
    fn remove_namespace(&mut self, _cookie: u64) -> Result<(), TableError> {
        Ok(())
    }
    fn reset_counters(&mut self, _service: ServiceId) -> Result<(), TableError> {
        Ok(())
    }
    fn frontends(&self) -> Result<Vec<(FrontendAddress, ServiceId)>, TableError> {
        Ok(self.frontends.iter().map(|(&frontend, &service)| (frontend, service)).collect())
    }
    fn addresses(&self) -> Result<Vec<(IpAddr, AddressRole)>, TableError> {
        Ok(self.addresses.iter().map(|(&address, &role)| (address, role)).collect())
    }
    fn namespaces(&self) -> Result<Vec<u64>, TableError> {
        Ok(Vec::new())
    }
    fn record(&self, service: ServiceId) -> ServiceRecord {
        self.records[service.0 as usize]
    }
    fn slot(&self, slot: Slot) -> BackendId {
        self.slots[slot.0 as usize]
    }
    fn backend(&self, id: BackendId) -> Backend {
        self.backends[id.0 as usize]
    }
}

fn service(number: u32, first: u32) -> (ObjectName, CompiledService) {
    let name = ObjectName { namespace: "default".to_owned(), name: format!("service-{number}") };
    let ip = IpAddr::from(Ipv4Addr::from(0x0a60_0000 + number));
    let backend = |it| SocketAddr::from((Ipv4Addr::from(0x0a80_0000 + it), 8080));
    let port = CompiledPort {
        name: ServicePortName {
            service: name.clone(),
            port: "http".to_owned(),
            protocol: Protocol::TCP,
            family: Family::V4,
        },
        frontends: vec![SocketAddr::new(ip, 80)],
        backends: (first..first + ENDPOINTS).map(backend).collect(),
        when_empty: WhenEmpty::Refuse,
        endpoints: Box::default(),
    };
    (name, CompiledService { addresses: vec![ip], ports: vec![port] })
}

#[test]
#[ignore = "prints times"]
#[expect(clippy::print_stdout, reason = "what it is for")]
fn scale() {
    let plain = Plain {
        frontends: std::collections::HashMap::new(),
        addresses: std::collections::HashMap::new(),
        records: vec![ServiceRecord::default(); SERVICES as usize],
        slots: vec![BackendId::default(); (SERVICES * ENDPOINTS * 2) as usize],
        backends: vec![Backend::default(); (SERVICES * ENDPOINTS * 2) as usize],
    };
    let all: Vec<_> = (0..SERVICES).map(|it| service(it, it * ENDPOINTS)).collect();
    let batch = || all.iter().map(|(name, compiled)| (name, Some(compiled)));
    let mut sync = Sync::new(plain).unwrap();
    let time = |what: &str, begun: Instant| println!("{what}: {:?}", begun.elapsed());

    let begun = Instant::now();
    assert!(sync.apply(batch(), begun).is_empty());
    time("all of them", begun);
    let begun = Instant::now();
    assert!(sync.apply(batch(), begun).is_empty());
    time("all of them, unchanged", begun);
    for number in [7, 25_000, 49_999] {
        let (name, compiled) = service(number, number * ENDPOINTS + 1);
        let begun = Instant::now();
        assert!(sync.apply([(&name, Some(&compiled))], begun).is_empty());
        time("endpoints of one", begun);
    }
    let begun = Instant::now();
    let mut sync = Sync::new(sync.tables).unwrap();
    time("reading them again", begun);
    let begun = Instant::now();
    assert!(sync.apply(batch(), begun).is_empty());
    sync.finish_recovery(Instant::now()).unwrap();
    time("taking them over", begun);
}
