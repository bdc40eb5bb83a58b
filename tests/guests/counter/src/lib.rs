//! Counts the client's messages on each connection, and says so in each of them: what has to survive a change of version.

use std::time::Duration;

use serde::Deserialize;
use tidegate_guest::{
    Admission, Filter, Handshake, Interest, Kinds, Message, Refusal, Selection, Verdict, clock, export_filter,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Counter {
    /// Stands before the count.
    label: String,
    /// Refuses to take over a connection.
    refuse_to_resume: bool,
    /// Panics where its state is asked for.
    fail_to_save: bool,
    /// Panics when it takes over a connection.
    fail_to_resume: bool,
    /// Takes so many milliseconds to take over a connection.
    slow_to_resume: u64,
    /// Panics over the message of this number of a connection; zero: over none.
    fail_at: u64,
}

impl Filter for Counter {
    type Session = u64;

    fn interest(&self) -> Interest {
        Interest::from_client(Selection::whole(Kinds::TEXT))
    }

    fn open(&self, _: &Handshake) -> Result<Admission<u64>, Refusal> {
        Ok(Admission::of(0))
    }

    #[expect(clippy::panic, reason = "what this guest is for")]
    fn on_message(&self, count: &mut u64, message: Message<'_>) -> Verdict {
        *count += 1;
        if *count == self.fail_at {
            panic!("as told: it fails");
        }
        Verdict::replace(format!("{}{count}:{}", self.label, message.text().unwrap_or_default()))
    }

    #[expect(clippy::panic, reason = "what this guest is for")]
    fn save(&self, count: &u64) -> Vec<u8> {
        if self.fail_to_save {
            panic!("as told: it does not save");
        }
        count.to_le_bytes().to_vec()
    }

    #[expect(clippy::panic, reason = "what this guest is for")]
    fn resume(&self, _: &Handshake, state: &[u8]) -> Result<u64, String> {
        if self.fail_to_resume {
            panic!("as told: it does not resume");
        }
        if self.refuse_to_resume {
            return Err("as told: it refuses".to_owned());
        }
        let start = clock::monotonic();
        while clock::monotonic() - start < Duration::from_millis(self.slow_to_resume) {}
        Ok(state.try_into().map(u64::from_le_bytes).unwrap_or_default())
    }
}

export_filter!(Counter);
