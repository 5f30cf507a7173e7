//! Whether the kernel has to be asked for its connections. To answer takes it some time, and meanwhile there may be reason
//! to ask again.

/// What was to be asked, by numbers that rise.
#[derive(Debug, Default)]
pub(super) struct Questions {
    raised: u64,
    asked: u64,
    answered: u64,
}

impl Questions {
    /// There is reason to ask. Returns the number of the question.
    pub(super) fn raise(&mut self) -> u64 {
        self.raised += 1;
        self.raised
    }

    /// All that there is to ask is asked now.
    pub(super) fn ask(&mut self) {
        self.asked = self.raised;
    }

    /// What was asked is answered.
    pub(super) fn answer(&mut self) {
        self.answered = self.asked;
    }

    /// Whether any question has no answer.
    pub(super) fn are_open(&self) -> bool {
        self.answered < self.raised
    }

    /// Whether this one has an answer.
    pub(super) fn is_answered(&self, question: u64) -> bool {
        question <= self.answered
    }
}
