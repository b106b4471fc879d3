//! What is known of the topics while no server can be asked: as they were last found, in a file of this machine. A door with a spool
//! opens with it, takes events, and looks again when the servers are back.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
};

use schemas::topic::Topic;
use serde::{Deserialize, Serialize};

use super::{client::topic_name, config::ClusterConfig, names::Names, topics::partitions};

#[derive(Serialize, Deserialize)]
struct Known {
    name: String,
    partitions: u32,
    generation: u32,
}

/// The topics as they were last found; `None` if nobody wrote them down, or if the settings have changed since.
pub(super) fn read(config: &ClusterConfig) -> Option<Names> {
    let text = fs::read(config.known_topics.as_ref()?).ok()?;
    let known: Vec<Known> = serde_json::from_slice(&text).ok()?;
    let is_as_set =
        |(topic, known): (Topic, &Known)| known.name == topic_name(&config.kafka, topic) && known.partitions == partitions(config, topic);
    let fits = known.len() == Topic::ALL.len() && Topic::ALL.into_iter().zip(&known).all(is_as_set);
    fits.then(|| Names::new(known.into_iter().map(|known| (known.name, known.partitions, known.generation)).collect()))
}

/// Writes them down: beside, then renamed, so that nobody reads half of it.
pub(super) fn write(path: &Path, names: &Names) -> std::io::Result<()> {
    let known = Topic::ALL.map(|topic| {
        let (name, generation) = names.of(topic);
        Known { name: name.to_owned(), partitions: names.partitions(topic), generation }
    });
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(&serde_json::to_vec(&known)?)?;
    file.sync_all()?;
    fs::rename(beside, path)
}
