//! A capture file of bare IP packets, which tshark and Wireshark open.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, PcapError, TsResolution};

/// A file that packets are added to; complete after [`Capture::finish`].
#[derive(Debug)]
pub struct Capture {
    writer: PcapWriter<BufWriter<File>>,
}

impl Capture {
    /// Makes the file, or empties it, with link type RAW (101) and timestamps in nanoseconds.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        let header =
            PcapHeader { datalink: DataLink::RAW, ts_resolution: TsResolution::NanoSecond, ..PcapHeader::default() };
        let writer = PcapWriter::with_header(BufWriter::new(File::create(path)?), header).map_err(as_io)?;
        Ok(Self { writer })
    }

    /// Adds a packet that was seen at `at`.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn record(&mut self, at: SystemTime, packet: &[u8]) -> io::Result<()> {
        let since_epoch = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let length = u32::try_from(packet.len()).expect("an IP packet has a 16-bit length");
        self.writer.write_packet(&PcapPacket::new(since_epoch, length, packet)).map_err(as_io)?;
        Ok(())
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn finish(self) -> io::Result<()> {
        self.writer.into_writer().flush()
    }
}

fn as_io(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use pcap_file::pcap::PcapReader;

    use super::*;

    #[test]
    fn a_capture_reads_back() {
        let path = std::env::temp_dir().join(format!("lab-capture-{}.pcap", std::process::id()));
        let mut capture = Capture::create(&path).unwrap();
        let at = UNIX_EPOCH + Duration::from_nanos(1_234_567_891);
        capture.record(at, &[0x45, 1, 2]).unwrap();
        capture.finish().unwrap();
        let mut reader = PcapReader::new(File::open(&path).unwrap()).unwrap();
        assert_eq!(reader.header().datalink, DataLink::RAW);
        let packet = reader.next_packet().unwrap().unwrap().into_owned();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(
            (packet.timestamp, packet.data.as_ref()),
            (Duration::from_nanos(1_234_567_891), [0x45, 1, 2].as_slice())
        );
    }
}
