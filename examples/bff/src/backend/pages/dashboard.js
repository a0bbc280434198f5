// Shows the data of the user, and says so when the login is over.
"use strict";

const NOTICES = {
  session_expired: "your session has expired, please log in again",
  logged_out: "you are logged out",
};

const byId = (id) => document.getElementById(id);

// Whether the login is over. The first call that learns of it shows the notice, and all others are
// silent.
let isOver = false;
let hasData = false;

/** A call that has no answer, with the reason that the server gives. */
class CallError extends Error {
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}

/** Sends a call. A page of another origin cannot send the header. */
async function call(path, options = {}) {
  const headers = { ...options.headers, "x-bff": "1" };
  const response = await fetch(path, { ...options, headers });
  if (response.ok) {
    return response.status === 204 ? null : response.json();
  }
  const { reason } = await response.json().catch(() => ({ reason: "failed" }));
  throw new CallError(reason);
}

function show([user, notifications, settings]) {
  byId("name").textContent = user.name;
  byId("email").textContent = user.email;
  const items = notifications.map((text) => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  });
  byId("notifications").replaceChildren(...items);
  showTheme(settings.theme);
  byId("dashboard").hidden = false;
  byId("log-out").hidden = false;
  hasData = true;
}

function showTheme(theme) {
  byId("theme").value = theme;
  document.documentElement.dataset.theme = theme;
}

/** The data of the user must not stay on the screen. */
function end(reason) {
  if (isOver) return;
  isOver = true;
  if (reason === "logged_out" && !hasData) {
    location.replace("/login");
    return;
  }
  byId("dashboard").remove();
  byId("log-out").remove();
  delete document.documentElement.dataset.theme;
  byId("notice").textContent = NOTICES[reason];
  byId("to-login").hidden = false;
  byId("to-login").focus();
}

function fail(error) {
  if (Object.hasOwn(NOTICES, error.reason ?? "")) {
    end(error.reason);
  } else if (!isOver) {
    byId("notice").textContent = "the server cannot answer now, please try again later";
  }
}

/** Runs an action of the user, and shows its failure. */
async function attempt(action) {
  if (isOver) return;
  byId("notice").textContent = "";
  try {
    await action();
  } catch (error) {
    fail(error);
  }
}

async function load() {
  const paths = ["/api/user", "/api/notifications", "/api/settings"];
  const data = await Promise.all(paths.map((path) => call(path)));
  if (!isOver) show(data);
}

async function tenCalls() {
  const paths = ["/api/user", "/api/notifications", "/api/settings"];
  const calls = Array.from({ length: 10 }, (_, index) => call(paths[index % paths.length]));
  const results = await Promise.allSettled(calls);
  if (isOver) return;
  const answered = results.filter((result) => result.status === "fulfilled").length;
  byId("calls").textContent = `${answered} of ${results.length} calls answered`;
  const failed = results.find((result) => result.status === "rejected");
  if (failed) throw failed.reason;
}

async function changeTheme() {
  const body = JSON.stringify({ theme: byId("theme").value });
  const headers = { "content-type": "application/json" };
  const settings = await call("/api/settings", { method: "PUT", headers, body });
  if (!isOver) showTheme(settings.theme);
}

async function logOut() {
  await call("/logout", { method: "POST" });
  location.replace("/login");
}

byId("reload").addEventListener("click", () => attempt(load));
byId("ten-calls").addEventListener("click", () => attempt(tenCalls));
byId("theme").addEventListener("change", () => attempt(changeTheme));
byId("log-out").addEventListener("click", () => attempt(logOut));
// A page that the browser has kept shows the data of a login that may be over.
addEventListener("pageshow", (event) => event.persisted && location.reload());

attempt(load);
