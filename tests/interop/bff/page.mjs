// The page of examples/bff in Chromium: `node --test page.mjs`, with the program in BFF and the browser in CHROMIUM.
// SCREENSHOT names a file for a picture of the dashboard.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, afterEach, before, test } from "node:test";
import { chromium } from "playwright-core";

const EXPIRED = "your session has expired, please log in again";
const LIMIT = 10_000;

let program, browser, app, admin;
// What no page may do: throw, or run into the content security policy.
let faults = [];

before(async () => {
  program = spawn(process.env.BFF, { stdio: ["ignore", "pipe", "inherit"] });
  const addresses = await read(program, 3);
  app = new URL(addresses.dashboard).origin;
  admin = addresses.administration;
  // Chromium refuses to start its sandbox for root.
  const chromiumSandbox = process.getuid() !== 0;
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, chromiumSandbox });
}, { timeout: 60_000 });

after(async () => {
  await browser?.close();
  if (program?.exitCode === null && program.kill()) await once(program, "exit");
}, { timeout: 20_000 });

afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
  const found = faults;
  faults = [];
  assert.deepEqual(found, []);
});

/** Runs a case in at most a minute. */
function scene(name, run) {
  test(name, { timeout: 60_000 }, run);
}

/** The lines `name address` that the program prints. */
async function read(program, count) {
  const found = {};
  for await (const line of createInterface({ input: program.stdout })) {
    const [, name, address] = line.match(/^(\w+).* (http\S+)$/);
    found[name] = address;
    if (Object.keys(found).length === count) return found;
  }
  throw new Error("the program has ended early");
}

/** A browser of its own: it shares no cookies with others. */
async function newBrowser() {
  const context = await browser.newContext({ viewport: { width: 1000, height: 370 } });
  context.setDefaultTimeout(LIMIT);
  context.on("page", (page) => {
    page.on("pageerror", (error) => faults.push(String(error)));
    page.on("console", (message) => {
      if (message.text().includes("Content Security Policy")) faults.push(message.text());
    });
  });
  return context;
}

/** Logs in from the page that shows a link to the login, or from the login page. */
async function logIn(page, user) {
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByLabel("Name").fill(user);
  await page.getByLabel("Password").fill("tower");
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByText(`${user}@example.com`).waitFor();
}

/** A tab in which a user has logged in. */
async function tabOf(context, user) {
  const page = await context.newPage();
  await page.goto(app);
  await logIn(page, user);
  return page;
}

async function tenCalls(page) {
  await page.getByRole("button", { name: "Ten calls at once" }).click();
}

async function answered(page) {
  await page.getByRole("status").filter({ hasText: "10 of 10 calls answered" }).waitFor();
}

/** Uses the administrator's page of the auth server, in a browser of its own. */
async function administer(button, user) {
  const page = await (await newBrowser()).newPage();
  await page.goto(admin);
  if (user) await page.getByLabel("User").selectOption(user);
  await page.getByRole("button", { name: button }).click();
  await page.waitForLoadState();
  await page.context().close();
}

const expire = () => administer("Expire all access tokens");
const revoke = (user) => administer("End all logins of this user", user);

async function json(url) {
  return (await fetch(url, { signal: AbortSignal.timeout(LIMIT) })).json();
}

const counters = () => json(`${admin.replace("localhost", "127.0.0.1")}/counters`);

/** The statuses of the next answers, when their bodies have arrived as well. */
function statusesOf(page, count) {
  const statuses = [];
  return new Promise((resolve, reject) => {
    const limit = setTimeout(() => reject(new Error(`only ${statuses.length} answers`)), LIMIT);
    page.on("requestfinished", async (request) => {
      statuses.push((await request.response()).status());
      if (statuses.length < count) return;
      clearTimeout(limit);
      resolve(statuses);
    });
  });
}

/** Records each text that the notice shows from now on. */
async function watchNotice(page) {
  await page.evaluate(() => {
    window.notices = [];
    const notice = document.getElementById("notice");
    const note = () => notice.textContent && window.notices.push(notice.textContent);
    new MutationObserver((changes) => changes.forEach(note)).observe(notice, {
      childList: true, characterData: true, subtree: true,
    });
  });
}

scene("a login shows the data of the user, and scripts see no secret", async () => {
  const context = await newBrowser();
  const page = await tabOf(context, "ann");
  await page.getByText("Ann Archer").waitFor();
  await page.getByText("Bob has asked for a review.").waitFor();
  const seen = await page.evaluate(() => {
    return [document.cookie, localStorage.length, sessionStorage.length];
  });
  assert.deepEqual(seen, ["", 0, 0]);
  const cookies = await context.cookies();
  assert.equal(cookies.length, 1);
  const { name, domain, httpOnly, sameSite } = cookies[0];
  assert.deepEqual([name, domain, httpOnly, sameSite], ["bff-session", "127.0.0.1", true, "Lax"]);
});

scene("ten calls with an expired token cause one refresh, and all are answered", async () => {
  const page = await tabOf(await newBrowser(), "ann");
  await expire();
  const before = await counters();
  await tenCalls(page);
  await answered(page);
  const { refreshes, reused } = await counters();
  assert.deepEqual([refreshes - before.refreshes, reused], [1, 0]);
  if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT });
});

scene("two browsers side by side see the data of their own users", async () => {
  const ann = await tabOf(await newBrowser(), "ann");
  const bob = await tabOf(await newBrowser(), "bob");
  for (let round = 0; round < 3; round += 1) {
    await expire();
    await Promise.all([ann, bob].map(tenCalls));
    await Promise.all([ann, bob].map(answered));
    await Promise.all([ann, bob].map((page) => page.reload()));
    await ann.getByText("ann@example.com").waitFor();
    await bob.getByText("bob@example.com").waitFor();
    assert.doesNotMatch(await ann.content(), /bob@example/);
    assert.doesNotMatch(await bob.content(), /ann@example/);
  }
});

scene("a revoked login shows its notice once, and a new login works", async () => {
  const page = await tabOf(await newBrowser(), "ann");
  const bob = await tabOf(await newBrowser(), "bob");
  await revoke("ann");
  await watchNotice(page);
  const answers = statusesOf(page, 26);
  await page.evaluate(() => {
    for (const id of ["ten-calls", "reload", "ten-calls", "reload"]) {
      document.getElementById(id).click();
    }
  });
  const notice = page.getByRole("alert");
  await notice.filter({ hasText: EXPIRED }).waitFor();
  assert.deepEqual(await answers, Array(26).fill(401));
  await page.evaluate(() => new Promise(requestAnimationFrame));
  assert.deepEqual(await page.evaluate(() => window.notices), [EXPIRED]);
  assert.equal(await notice.count(), 1);
  assert.equal(page.url(), `${app}/`, "the page does not leave by itself");
  assert.doesNotMatch(await page.content(), /ann@example/);
  // A reload finds the login ended, and shows the notice again.
  await page.reload();
  await notice.filter({ hasText: EXPIRED }).waitFor();
  await page.getByRole("link", { name: "Log in" }).click();
  await logIn(page, "ann");
  await tenCalls(bob);
  await answered(bob);
});

scene("a logout in one tab shows in the other one at its next call", async () => {
  const context = await newBrowser();
  const tab = await tabOf(context, "ann");
  const other = await context.newPage();
  await other.goto(app);
  await other.getByText("ann@example.com").waitFor();
  const { grants } = await counters();
  await tab.getByRole("button", { name: "Log out" }).click();
  await tab.waitForURL("**/login");
  assert.equal((await counters()).grants, grants - 1);
  assert.deepEqual(await context.cookies(), []);

  await watchNotice(other);
  await other.getByRole("button", { name: "Load again" }).click();
  await other.getByRole("alert").filter({ hasText: "you are logged out" }).waitFor();
  assert.deepEqual(await other.evaluate(() => window.notices), ["you are logged out"]);
  assert.equal(other.url(), `${app}/`);
  await other.getByRole("link", { name: "Log in" }).click();
  await logIn(other, "bob");
});

scene("the way back after a logout shows no data of the user", async () => {
  const context = await newBrowser();
  const page = await tabOf(context, "ann");
  await page.getByRole("link", { name: "Status page of the operator" }).click();
  await page.waitForURL("**/status");
  const other = await context.newPage();
  await other.goto(app);
  await other.getByRole("button", { name: "Log out" }).click();
  await other.waitForURL("**/login");
  await page.goBack();
  await page.waitForURL("**/login");
  assert.doesNotMatch(await page.content(), /ann@example/);
});

scene("a form of another site logs no user out", async () => {
  const context = await newBrowser();
  const page = await tabOf(context, "ann");
  const evil = await context.newPage();
  await evil.setContent(`<form method="post" action="${app}/logout"><button>win</button></form>`);
  const refused = evil.waitForResponse(`${app}/logout`);
  await evil.getByRole("button").click();
  assert.equal((await refused).status(), 403);
  await tenCalls(page);
  await answered(page);
});

scene("the theme is saved with an expired token", async () => {
  const page = await tabOf(await newBrowser(), "bob");
  await expire();
  const saved = page.waitForResponse((answer) => answer.request().method() === "PUT");
  await page.getByLabel("Theme").selectOption("dark");
  assert.equal((await saved).status(), 200);
  await page.reload();
  await page.locator("html[data-theme=dark]").waitFor();
});

scene("the status page shows the numbers", async () => {
  const context = await newBrowser();
  const page = await context.newPage();
  const { logins, refreshes, logins_ended: ended, failures } = await json(`${app}/status.json`);
  const tab = await tabOf(context, "ann");
  await expire();
  await tenCalls(tab);
  await answered(tab);
  await revoke("ann");
  await tenCalls(tab);
  await tab.getByRole("alert").filter({ hasText: EXPIRED }).waitFor();

  await page.goto(`${app}/status`);
  const number = async (name) => {
    return Number(await page.getByRole("row", { name }).getByRole("cell").last().textContent());
  };
  assert.equal(await number("Logins"), logins + 1);
  assert.equal(await number("Refreshes started"), refreshes.started + 2);
  assert.equal(await number("Refreshes succeeded"), refreshes.succeeded + 1);
  assert.equal(await number("Refreshes failed"), refreshes.failed + 1);
  assert.equal(await number("terminal"), (failures.terminal ?? 0) + 1);
  assert.equal(await number("refused"), (ended.refused ?? 0) + 1);
  assert.equal(await number("Calls that wait"), 0);
  assert.doesNotMatch(await page.content(), /example\.com/);
});
