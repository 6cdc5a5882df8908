//! Questions on a terminal, one line each, with what is taken when only Enter is pressed. Not here: what is asked (`mod`).

use std::{
    io::{self, BufRead, Read, Write},
    os::fd::AsFd,
};

use super::SetupError;
use crate::sys::terminal::Silent;

/// Ctrl-C, Ctrl-D, Backspace as terminals send them (ECMA-48; termios(3), VINTR, VEOF, VERASE).
const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const ERASE: [u8; 2] = [0x08, 0x7f];

/// A person at a terminal.
#[derive(Debug)]
pub(super) struct Person<R, W> {
    pub input: R,
    pub output: W,
}

impl<R: BufRead, W: Write> Person<R, W> {
    pub(super) fn say(&mut self, text: &str) -> Result<(), SetupError> {
        self.output
            .write_all(text.as_bytes())
            .and_then(|()| self.output.flush())
            .map_err(SetupError::Terminal)
    }

    /// The answer, without blanks around it; `usual` where there is none.
    pub(super) fn ask(&mut self, question: &str, usual: &str) -> Result<String, SetupError> {
        match usual {
            "" => self.say(&format!("{question}: "))?,
            usual => self.say(&format!("{question} [{usual}]: "))?,
        }
        let mut line = String::new();
        if self.input.read_line(&mut line).map_err(SetupError::Terminal)? == 0 {
            return Err(SetupError::Stopped);
        }
        let answer = line.trim();
        Ok(if answer.is_empty() { usual.to_owned() } else { answer.to_owned() })
    }

    /// Asks until it is one of the numbers from 1; `usual` is one of them.
    pub(super) fn choose(
        &mut self,
        question: &str,
        choices: &[String],
        usual: usize,
    ) -> Result<usize, SetupError> {
        for (index, choice) in choices.iter().enumerate() {
            self.say(&format!("  {}) {choice}\n", index + 1))?;
        }
        loop {
            let answer = self.ask(question, &usual.to_string())?;
            match answer.parse() {
                Ok(number) if (1..=choices.len()).contains(&number) => return Ok(number - 1),
                _ => self.say(&format!("  a number from 1 to {} is wanted\n", choices.len()))?,
            }
        }
    }

    /// Yes or no.
    pub(super) fn confirm(&mut self, question: &str) -> Result<Confirmed, SetupError> {
        loop {
            match self.ask(&format!("{question} (y/n)"), "y")?.to_lowercase().as_str() {
                "y" | "yes" => return Ok(Confirmed::Yes),
                "n" | "no" => return Ok(Confirmed::No),
                _ => self.say("  y or n is wanted\n")?,
            }
        }
    }

    /// A password, which is not shown.
    pub(super) fn password(&mut self, question: &str, terminal: impl AsFd) -> Result<String, SetupError> {
        self.say(&format!("{question}: "))?;
        let typed = {
            let _silent = Silent::new(terminal.as_fd()).map_err(SetupError::Terminal)?;
            read_password(&mut self.input)
        };
        self.say("\n")?;
        typed
    }
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Confirmed {
    Yes,
    No,
}

/// Byte by byte, as the terminal gives them.
fn read_password(input: &mut impl Read) -> Result<String, SetupError> {
    let mut typed = Vec::new();
    loop {
        let mut byte = [0];
        match input.read(&mut byte) {
            Ok(0) => return Err(SetupError::Stopped),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(SetupError::Terminal(error)),
        }
        match byte[0] {
            b'\r' | b'\n' => break,
            INTERRUPT | END => return Err(SetupError::Stopped),
            key if ERASE.contains(&key) => {
                // The whole of the last character (UTF-8, RFC 3629, section 3).
                while typed.pop().is_some_and(|byte: u8| byte & 0xc0 == 0x80) {}
            }
            key => typed.push(key),
        }
    }
    String::from_utf8(typed).map_err(|_| SetupError::Terminal(io::ErrorKind::InvalidData.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(typed: &str) -> Person<&[u8], Vec<u8>> {
        Person { input: typed.as_bytes(), output: Vec::new() }
    }

    #[test]
    fn enter_alone_takes_what_is_usual() {
        assert_eq!(person("\n").ask("Name", "porch").unwrap(), "porch");
        assert_eq!(person("  garden \n").ask("Name", "porch").unwrap(), "garden");
        assert!(matches!(person("").ask("Name", "porch"), Err(SetupError::Stopped)));
    }

    #[test]
    fn what_is_no_choice_is_asked_again() {
        let choices = ["one".to_owned(), "two".to_owned()];
        let mut asked = person("3\nx\n2\n");
        assert_eq!(asked.choose("Which", &choices, 1).unwrap(), 1);
        let shown = String::from_utf8(asked.output).unwrap();
        assert_eq!(shown.matches("a number from 1 to 2 is wanted").count(), 2, "{shown}");
        assert_eq!(person("maybe\nNO\n").confirm("Write it?").unwrap(), Confirmed::No);
    }

    #[test]
    fn a_password_is_read_with_its_corrections() {
        let read = |typed: &[u8]| read_password(&mut &typed[..]);
        assert_eq!(read(b"hunter3\x7f2\r").unwrap(), "hunter2");
        assert_eq!(read("ü\u{7f}u\n".as_bytes()).unwrap(), "u");
        assert!(matches!(read(b"hun\x03"), Err(SetupError::Stopped)));
        assert!(matches!(read(b"hun"), Err(SetupError::Stopped)));
    }
}
