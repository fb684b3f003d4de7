// gitsess agent 1: hands what opencode does over to gitsess, which then reads what opencode wrote down.
// Made by "git ai-session init", taken back by "git ai-session init --undo"; not meant to be changed by hand.
//
// Nothing here fails or delays opencode: what it starts is on its own, and where there is no gitsess, nothing is
// started.

import { spawn } from "node:child_process"
import { homedir } from "node:os"
import { join } from "node:path"

// Empty: the repository that opencode works in has it.
const SCRIPT = "@SCRIPT@"
const RUN =
  'a=$1; [ -n "$a" ] || a=$(git -c safe.bareRepository=explicit -C "$2" rev-parse --path-format=absolute --git-common-dir 2>/dev/null)/ai-sessions/agent; ' +
  '[ ! -x "$a" ] || exec "$a" opencode "$3"'

export const Gitsess = async ({ directory }) => {
  const data = process.env.XDG_DATA_HOME || join(homedir(), ".local", "share")

  const tell = (session) => {
    try {
      const event = {
        hook_event_name: "session.idle",
        session_id: session,
        transcript_path: join(data, "opencode", "opencode.db", session),
        cwd: directory,
      }
      const child = spawn("sh", ["-c", RUN, "gitsess", SCRIPT, directory, JSON.stringify(event)], {
        cwd: directory,
        detached: true,
        stdio: "ignore",
      })
      child.on("error", () => {})
      child.unref()
    } catch {}
  }

  return {
    event: async ({ event }) => {
      if (event.type === "session.idle" && event.properties?.sessionID) tell(event.properties.sessionID)
    },
    // What the agent runs can tell whose it is.
    "shell.env": async (input, output) => {
      if (input.sessionID) output.env.OPENCODE_SESSION_ID = input.sessionID
    },
  }
}
