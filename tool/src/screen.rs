//! The terminal of `gmprt top`: a screen of its own, with keys. Whatever ends
//! the command, the terminal is as before.

use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::{cursor, execute, queue, style, terminal};
use std::io::{self, Write};
use std::time::Duration;

pub enum Key {
    Quit,
    Sort,
    Resize,
}

pub struct Screen(());

fn words(why: io::Error) -> String {
    format!("the terminal fails: {why}")
}

impl Screen {
    /// Opens a screen of its own.
    ///
    /// # Errors
    /// In words.
    pub fn open() -> Result<Screen, String> {
        terminal::enable_raw_mode().map_err(words)?;
        let screen = Screen(());
        execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide)
            .map_err(words)?;
        Ok(screen)
    }

    /// Shows what fits of `text`.
    ///
    /// # Errors
    /// In words.
    pub fn show(&mut self, text: &str) -> Result<(), String> {
        let (width, height) = terminal::size().map_err(words)?;
        let mut out = io::stdout().lock();
        let mut draw = || {
            for (row, line) in (0..height).zip(text.lines()) {
                let line: String = line.chars().take(width.into()).collect();
                queue!(
                    out,
                    cursor::MoveTo(0, row),
                    style::Print(line),
                    terminal::Clear(terminal::ClearType::UntilNewLine)
                )?;
            }
            let rest = terminal::ClearType::FromCursorDown;
            if text.lines().count() < height.into() {
                let row = text.lines().count() as u16;
                queue!(out, cursor::MoveTo(0, row), terminal::Clear(rest))?;
            }
            out.flush()
        };
        draw().map_err(words)
    }

    /// A key that means something here, within `limit`.
    ///
    /// # Errors
    /// In words.
    pub fn key(&mut self, limit: Duration) -> Result<Option<Key>, String> {
        if !event::poll(limit).map_err(words)? {
            return Ok(None);
        }
        let key = match event::read().map_err(words)? {
            Event::Key(key) if key.kind != KeyEventKind::Release => key,
            _ => return Ok(Some(Key::Resize)),
        };
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        Ok(Some(match key.code {
            KeyCode::Char('c') if control => Key::Quit,
            KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
            KeyCode::Char('s') => Key::Sort,
            _ => Key::Resize,
        }))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nobody is left to be told of an error.
        let _ = execute!(
            io::stdout(),
            cursor::Show,
            terminal::LeaveAlternateScreen
        );
        let _ = terminal::disable_raw_mode();
    }
}
