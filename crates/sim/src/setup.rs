//! All that a seed decides about a run before it begins.

use log::Compression;

use crate::canary::Canary;
use crate::disk::{DiskOptions, Faults, Omissions, Stop};
use crate::random::Random;

/// What goes wrong in a run, besides that it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Nothing.
    Crashes,
    /// The disk says that it failed.
    Errors,
    /// The disk is full, and has room again.
    Full,
    /// The disk does not keep its word: bits rot, sectors cannot be read, writes are lost or go elsewhere.
    Harm,
    /// All of it.
    All,
}

/// Hears what happens in a run, line by line.
pub type Listener = fn(&str);

/// A run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The seed.
    pub seed: u64,
    /// The bug that is to be caught.
    pub canary: Option<Canary>,
    /// What goes wrong.
    pub mix: Mix,
    /// How the disk is made.
    pub disk: DiskOptions,
    /// How often its faults come, while they do.
    pub faults: Faults,
    /// How often it is harmed at rest.
    pub harms: u64,
    /// The size at which a segment of the log is full.
    pub segment_bytes_max: u64,
    /// Whether the log compresses.
    pub is_compressed: bool,
    /// Whether history is folded.
    pub folds: bool,
    /// Whether views are created while everything runs.
    pub fills: bool,
    /// Whether backups are made, and restored.
    pub backups: bool,
    /// How many workers share the dataflow.
    pub workers: usize,
    /// How many processes are started before all is made well.
    pub lives: u64,
    /// How much each does at most.
    pub actions: u64,
    /// When the machine stops: the number of steps after each start, and how. Empty for chance.
    pub stops: Vec<(u64, Stop)>,
    /// Chance of the disk: the same steps with other numbers here are lost otherwise.
    pub disk_stream: u64,
    /// Who is told what happens.
    pub listener: Option<Listener>,
}

impl Setup {
    /// What a seed decides.
    #[must_use]
    pub fn new(seed: u64, canary: Option<Canary>) -> Self {
        let mut random = Random::new(seed, 1);
        let mixes = [Mix::Crashes, Mix::Errors, Mix::Full, Mix::Harm, Mix::All];
        let mix = match canary {
            // These are to be caught without anybody's being able to blame the disk.
            Some(canary) if canary != Canary::DamageIsTheEnd => Mix::Crashes,
            Some(_) => Mix::Harm,
            None => mixes[random.index(mixes.len())],
        };
        let omissions = Omissions {
            file_sync: canary == Some(Canary::NoSync),
            directory_sync: canary == Some(Canary::NoDirectorySync),
        };
        // Streams of their own, so that what a seed found before these came stays the same run without them.
        let folds = canary == Some(Canary::RowKept) || Random::new(seed, 4).one_in(2);
        let fills = canary.is_some_and(Canary::is_of_fills) || Random::new(seed, 6).one_in(2);
        let backups = canary.is_some_and(Canary::is_of_backups) || Random::new(seed, 8).one_in(2);
        let sector_bytes = random.pick(&[512, 512, 4096]);
        let disk = DiskOptions { sector_bytes, names_in_order: !random.one_in(4), omissions };
        Self {
            seed,
            canary,
            mix,
            disk,
            faults: mix.faults(&mut random),
            harms: if mix.is_harmful() { random.between(0, 2) } else { 0 },
            segment_bytes_max: random.pick(&[1 << 11, 1 << 12, 1 << 14, 1 << 20]),
            is_compressed: random.one_in(3),
            folds,
            fills,
            backups,
            workers: if random.one_in(16) { 2 } else { 1 },
            lives: random.between(2, 5),
            actions: random.between(10, 80),
            stops: Vec::new(),
            disk_stream: 2,
            listener: None,
        }
    }

    /// A small run of which each step is to be the last one, in turn.
    #[must_use]
    pub fn stopped(seed: u64, stops: Vec<(u64, Stop)>, disk_stream: u64) -> Self {
        let disk = DiskOptions {
            sector_bytes: 512,
            names_in_order: true,
            omissions: Omissions::default(),
        };
        Self {
            mix: Mix::Crashes,
            disk,
            faults: Faults::default(),
            harms: 0,
            segment_bytes_max: 1 << 11,
            is_compressed: false,
            folds: false,
            fills: false,
            backups: false,
            workers: 1,
            lives: 1 + stops.len() as u64,
            actions: 24,
            stops,
            disk_stream,
            ..Self::new(seed, None)
        }
    }

    /// The size at which a segment is full. History is folded between segments.
    pub(crate) fn segment_bytes(&self) -> u64 {
        if self.folds { self.segment_bytes_max.min(1 << 11) } else { self.segment_bytes_max }
    }

    /// Whether the log compresses.
    pub(crate) fn compression(&self) -> Compression {
        if self.is_compressed { Compression::WhenItPays } else { Compression::Off }
    }
}

impl Mix {
    /// Whether the disk does not keep its word.
    #[must_use]
    pub fn is_harmful(self) -> bool {
        matches!(self, Self::Harm | Self::All)
    }

    /// Whether the disk runs full.
    #[must_use]
    pub fn is_full(self) -> bool {
        matches!(self, Self::Full | Self::All)
    }

    fn faults(self, random: &mut Random) -> Faults {
        let mut faults = Faults { slow: 50, ..Faults::default() };
        let mut often = |yes: bool| if yes { random.pick(&[0, 20, 60, 200]) } else { 0 };
        let errors = matches!(self, Self::Errors | Self::All);
        faults.read_error = often(errors);
        faults.write_error = often(errors);
        faults.sync_error = often(errors);
        faults.names_error = often(errors);
        faults.eviction = often(errors);
        faults.sync_full = often(self.is_full());
        faults.lost_write = often(self.is_harmful());
        faults.misdirected_write = often(self.is_harmful());
        faults
    }
}
