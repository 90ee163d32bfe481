//! A log of your own and its crash test: `cargo run --example test_your_own_store`.

use std::path::Path;
use std::sync::Arc;

use pkv_fs::{Access, File, Fs, Result};
use pkv_sim::{AckLog, Acked, Crash, Explorer, SimFs};

/// Appends numbers, each with a checksum. The store under test takes its disk as a trait object.
struct Log {
    file: Arc<dyn File>,
    end: u64,
    numbers: Vec<u64>,
}

impl Log {
    fn open(fs: &Arc<dyn Fs>) -> Result<Self> {
        let (dir, path) = (Path::new("/log"), Path::new("/log/numbers"));
        fs.create_dir(dir)?;
        let file = match fs.open(path, Access::Write) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => fs.create_new(path)?,
            opened => opened?,
        };
        // Both names must be durable before anything is acknowledged.
        fs.sync_dir(dir)?;
        fs.sync_dir(Path::new("/"))?;
        let (mut end, mut numbers, mut record) = (0, Vec::new(), [0; 16]);
        while file.read_at(end, &mut record)? == record.len() {
            let (number, check) = split(record);
            if check != checksum(number) {
                break;
            }
            numbers.push(number);
            end += 16;
        }
        // What was read may be in the page cache only; what follows is torn.
        file.set_len(end)?;
        file.sync_data()?;
        Ok(Self { file, end, numbers })
    }

    fn append(&mut self, number: u64) -> Result<()> {
        let words = [number.to_le_bytes(), checksum(number).to_le_bytes()];
        self.file.write_at(self.end, words.as_flattened())?;
        self.file.sync_data()?; // Take this line away and run again.
        self.end += 16;
        self.numbers.push(number);
        Ok(())
    }
}

fn checksum(number: u64) -> u64 {
    (number ^ 0x5bd1_e995_97f4_a7c5).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn split(record: [u8; 16]) -> (u64, u64) {
    let both = u128::from_le_bytes(record);
    let low = u64::try_from(both & u128::from(u64::MAX)).unwrap_or_default();
    (low, u64::try_from(both >> 64).unwrap_or_default())
}

/// Uses the store and says what it acknowledged. Runs once for each kind of crash.
fn workload(fs: &Arc<SimFs>, acks: &AckLog<u64>) {
    let fs: Arc<dyn Fs> = fs.clone();
    let Ok(mut log) = Log::open(&fs) else { return };
    for number in 0..200 {
        if log.append(number * number).is_ok() {
            acks.ack(number * number);
        }
    }
}

/// Opens the store on a disk after a crash. At least what was acknowledged must be there.
fn verify(fs: Arc<SimFs>, acked: &Acked<u64>) -> std::result::Result<(), String> {
    let fs: Arc<dyn Fs> = fs;
    let log = Log::open(&fs).map_err(|e| e.to_string())?;
    if log.numbers.len() < acked.len() {
        return Err(format!("{} of {} acknowledged are there", log.numbers.len(), acked.len()));
    }
    let issued = acked.whole_run();
    if issued.zip(&log.numbers).any(|(issued, found)| issued != found) {
        return Err("a number is there that was not appended in this place".to_string());
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example shows what it found")]
fn main() -> std::result::Result<(), String> {
    for crash in Crash::ALL {
        let explorer = Explorer { nested: 2, ..Explorer::new(crash) };
        let report = explorer.run(workload, verify).ok()?;
        println!("{crash}: {} disks after {} crashes, all well", report.states, report.cuts);
    }
    Ok(())
}
