//! Leaving stores behind, and opening them.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use super::{Job, Kind, Measured, READY, rate};
use crate::engines::{Engine, Setup, open};

impl Job {
    pub(super) fn prepare_closed(&self, folder: &Path) -> Measured {
        self.open_inserted(folder)?.close()?;
        Ok(Vec::new())
    }

    /// Waits to be killed.
    pub(super) fn prepare_killed(&self, folder: &Path) -> Measured {
        let _map = self.open_inserted(folder)?;
        println!("{READY}");
        std::io::stdout().flush()?;
        loop {
            std::thread::park();
        }
    }

    pub(super) fn prepare_compacted(&self, folder: &Path) -> Measured {
        if self.engine == Engine::PersistentKv {
            // Its snapshot begins with the last write, and dropping the store waits for it.
            let setup = Setup { snapshot_interval: Some(self.entries), ..self.setup() };
            self.insert_range(&*open(self.engine, folder, setup)?, 0, self.entries)?;
            return Ok(Vec::new());
        }
        let mut map = self.open_inserted(folder)?;
        map.compact()?;
        map.close()?;
        Ok(Vec::new())
    }

    pub(super) fn prepare_log(&self, folder: &Path) -> Measured {
        let map = open(self.engine, folder, Setup { compacts: false, ..self.setup() })?;
        self.insert_range(&*map, 0, self.entries)?;
        map.close()?;
        Ok(Vec::new())
    }

    pub(super) fn open(&self, folder: &Path) -> Measured {
        let setup = Setup { compacts: self.kind != Kind::OpenLog, ..self.setup() };
        let start = Instant::now();
        let map = open(self.engine, folder, setup)?;
        let time = start.elapsed();
        self.check_len(&*map, self.entries)?;
        map.close()?;
        Ok(vec![("per_second", rate(self.entries, time))])
    }
}
