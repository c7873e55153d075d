//! The attachments on disk: one file of JSON, so that a person can read it and every change of many
//! attachments is one.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Attachment, AttachmentKey};
use crate::{
    atomic_file,
    state_file::{StateDamage, StateFile},
};

const STORE: StateFile = StateFile {
    name: "attachments.json",
    what: "attachments",
    without: "pods that the CNI plugin made are unknown now: let the runtime make them anew",
};

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct StoreFile<List> {
    version: u32,
    attachments: List,
}

/// What [`Attachments::open`] found.
#[derive(Debug)]
pub struct Opened {
    /// The attachments.
    pub attachments: Attachments,
    /// What was wrong with the store, where something was; it then begins empty.
    pub damage: Option<StateDamage>,
}

/// The attachments. Owned by the agent; the file belongs to one agent at a time. A change that
/// cannot be brought to the disk is none.
#[derive(Debug)]
pub struct Attachments {
    path: PathBuf,
    held: BTreeMap<AttachmentKey, Attachment>,
}

impl Attachments {
    /// Reads `<state-dir>/attachments.json`. A store that is missing is an empty one; a store that
    /// is damaged is moved aside and reported.
    ///
    /// # Errors
    /// The file exists and the system will not read it, or move it aside.
    pub fn open(state_dir: &Path, run_dir: &Path) -> io::Result<Opened> {
        let found = STORE.open(state_dir, run_dir, parse)?;
        let attachments = Self { path: found.path, held: found.state };
        Ok(Opened { attachments, damage: found.damage })
    }

    /// Removes the store, for `shunt cleanup`; one that was kept aside stays.
    ///
    /// # Errors
    /// The system will not remove it.
    pub fn remove_store(state_dir: &Path) -> io::Result<()> {
        STORE.remove(state_dir)
    }

    /// One of them.
    pub fn get(&self, key: &AttachmentKey) -> Option<&Attachment> {
        self.held.get(key)
    }

    /// All of them, in the order of their keys.
    pub fn all(&self) -> impl Iterator<Item = &Attachment> {
        self.held.values()
    }

    /// Adds attachments, or puts them in the place of what is known of them.
    ///
    /// # Errors
    /// The store cannot be written; nothing has changed then.
    pub fn put(&mut self, attachments: Vec<Attachment>) -> io::Result<()> {
        self.change(|held| {
            held.extend(attachments.into_iter().map(|it| (it.key.clone(), it)));
        })
    }

    /// Forgets attachments.
    ///
    /// # Errors
    /// The store cannot be written; nothing has changed then.
    pub fn remove<'a>(
        &mut self,
        keys: impl IntoIterator<Item = &'a AttachmentKey>,
    ) -> io::Result<()> {
        self.change(|held| {
            for key in keys {
                held.remove(key);
            }
        })
    }

    fn change(
        &mut self,
        work: impl FnOnce(&mut BTreeMap<AttachmentKey, Attachment>),
    ) -> io::Result<()> {
        let mut held = self.held.clone();
        work(&mut held);
        if held == self.held {
            return Ok(());
        }
        let attachments: Vec<&Attachment> = held.values().collect();
        let file = StoreFile { version: VERSION, attachments };
        atomic_file::write(&self.path, &serde_json::to_vec_pretty(&file)?)?;
        self.held = held;
        Ok(())
    }
}

fn parse(bytes: &[u8]) -> Result<BTreeMap<AttachmentKey, Attachment>, String> {
    let file: StoreFile<Vec<Attachment>> =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if file.version != VERSION {
        return Err(format!("version {} is not {VERSION}", file.version));
    }
    Ok(file.attachments.into_iter().map(|it| (it.key.clone(), it)).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::attachments::{PodIdentity, PortMapping, Stage, TransportProtocol};

    fn attachment(container_id: &str) -> Attachment {
        let key =
            AttachmentKey { container_id: container_id.to_owned(), interface: "eth0".to_owned() };
        Attachment {
            key,
            network: "shunt".to_owned(),
            pod: PodIdentity::default(),
            netns: "/run/netns/a".into(),
            netns_cookie: 7,
            boot_id: "b".to_owned(),
            created: jiff::Timestamp::UNIX_EPOCH,
            host_interface: "veth0".to_owned(),
            addresses: vec!["192.168.1.2".parse().unwrap()],
            port_mappings: vec![PortMapping {
                host_port: 8080,
                container_port: 80,
                protocol: TransportProtocol::Sctp,
                host_ip: None,
            }],
            stage: Stage::Making,
        }
    }

    fn open(state_dir: &Path) -> Opened {
        Attachments::open(state_dir, Path::new("/nonexistent")).unwrap()
    }

    #[test]
    fn what_was_put_is_there_after_a_restart_and_what_was_removed_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut attachments = open(folder.path()).attachments;
        attachments.put(vec![attachment("a"), attachment("b")]).unwrap();
        let changed = Attachment { stage: Stage::Attached, ..attachment("b") };
        attachments.put(vec![changed.clone()]).unwrap();
        attachments.remove([&attachment("a").key, &attachment("unknown").key]).unwrap();
        let again = open(folder.path()).attachments;
        assert_eq!(again.all().collect::<Vec<_>>(), [&changed]);
    }

    #[test]
    fn a_damaged_store_is_kept_aside() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(STORE.name), r#"{"version":2,"attachments":[]}"#).unwrap();
        let opened = open(folder.path());
        let damage = opened.damage.unwrap();
        assert!(damage.to_string().contains("version 2 is not 1"), "{damage}");
        assert!(damage.kept_as.exists());
        assert_eq!(opened.attachments.all().count(), 0);
    }

    #[test]
    fn a_store_that_cannot_be_written_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut attachments = open(folder.path()).attachments;
        fs::create_dir_all(folder.path().join("attachments.json.tmp")).unwrap();
        assert!(attachments.put(vec![attachment("a")]).is_err());
        assert_eq!(attachments.all().count(), 0);
    }

    #[test]
    fn what_a_former_agent_kept_in_its_run_directory_comes_along() {
        let (run_dir, state_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        open(run_dir.path()).attachments.put(vec![attachment("a")]).unwrap();
        let moved = Attachments::open(&state_dir.path().join("deeper"), run_dir.path()).unwrap();
        assert_eq!(moved.attachments.all().count(), 1);
        assert!(!run_dir.path().join(STORE.name).exists());
    }
}
