//! What the agent has said in one session so far, for requests that wait for it. Pure: messages in.

use super::problem::Problem;
use crate::signal::{
    message::{ToViewer, Welcome},
    whole::Whole,
};

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Heard {
    pub welcome: Option<Welcome>,
    /// The last answer, with its candidates.
    pub whole: Whole,
    /// Answers and refusals so far: what comes next is of the next question.
    pub said: u32,
    /// The refusal, if the last was one.
    pub refused: Option<Problem>,
    /// Why the session is over.
    pub over: Option<Problem>,
}

impl Heard {
    /// Takes the next message.
    pub fn take(&mut self, message: &ToViewer) {
        self.whole.take(message);
        match message {
            ToViewer::Welcome(welcome) => self.welcome = Some(welcome.clone()),
            ToViewer::Answer { .. } => {
                self.said += 1;
                self.refused = None;
            }
            ToViewer::Error { code, message } => {
                self.said += 1;
                self.refused = Some(Problem::refused(*code, message));
            }
            ToViewer::Bye { reason } => self.over = Some(Problem::ended(*reason)),
            ToViewer::Candidate(_) | ToViewer::Notice(_) => {}
        }
    }

    /// Nothing more will be said.
    pub fn end(&mut self) {
        if self.over.is_none() {
            self.over = Some(self.refused.clone().unwrap_or_else(Problem::no_session));
        }
    }

    /// Why there will be no answer after the first `said`.
    pub fn problem_after(&self, said: u32) -> Option<&Problem> {
        let refused = if self.said > said { self.refused.as_ref() } else { None };
        refused.or(self.over.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::message::{ByeReason, ErrorCode};

    fn error(code: ErrorCode) -> ToViewer {
        ToViewer::Error { code, message: "why".into() }
    }

    #[test]
    fn a_question_is_answered_by_what_comes_after_it() {
        let mut heard = Heard::default();
        heard.take(&error(ErrorCode::RateLimited));
        assert_eq!(heard.problem_after(0).map(|problem| problem.status), Some(429));
        assert_eq!(heard.problem_after(1), None, "that was the question before");
        heard.take(&ToViewer::Answer { sdp: "v=0\r\n".into() });
        assert_eq!((heard.said, heard.problem_after(1)), (2, None));
    }

    #[test]
    fn after_the_end_every_question_has_a_reason() {
        let mut heard = Heard::default();
        heard.take(&ToViewer::Bye { reason: ByeReason::Revoked });
        heard.end();
        assert_eq!(heard.problem_after(0).map(|problem| problem.status), Some(401));
        let mut refused = Heard::default();
        refused.take(&error(ErrorCode::Codec));
        refused.end();
        assert_eq!(refused.problem_after(1).map(|problem| problem.status), Some(422));
        let mut silent = Heard::default();
        silent.end();
        assert_eq!(silent.problem_after(0).map(|problem| problem.status), Some(404));
    }
}
