// The page's only way to the server: the same API that every other program uses.

/** The bearer token comes once, behind # in the address that the server printed, and then stays in this tab. */
const given = /^#token=([^&]+)/.exec(location.hash);
if (given) {
  sessionStorage.setItem("token", decodeURIComponent(given[1]));
  history.replaceState(null, "", "/#check");
}

function headers(more = {}) {
  const token = sessionStorage.getItem("token");
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

export class ServerSays extends Error {
  constructor(line, status) {
    super(line);
    this.status = status;
  }
}

async function refused(response) {
  const answer = await response.json().catch(() => ({}));
  return new ServerSays(answer.error || `the server answered ${response.status}`, response.status);
}

export async function getJson(path, signal) {
  const response = await fetch(path, { headers: headers(), signal });
  if (!response.ok) throw await refused(response);
  return response.json();
}

export async function getBlob(path) {
  const response = await fetch(path, { headers: headers() });
  if (!response.ok) throw await refused(response);
  return response.blob();
}

/** A file of a job as an address for img and video; the caller frees it. */
export async function blobUrl(job, name) {
  return URL.createObjectURL(await getBlob(`/api/jobs/${job}/files/${name}`));
}

export const needsToken = () => Boolean(sessionStorage.getItem("token"));

/** Send a form; `onsent` hears the share that has left this machine. Resolves with the job's number. */
function send(path, form, onsent, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    for (const [name, value] of Object.entries(headers({ Prefer: "respond-async" }))) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && onsent(event.loaded / event.total);
    request.onload = () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* told below */ }
      if (request.status === 202 || request.status === 200) {
        resolve((request.getResponseHeader("Location") || "").split("/").pop() || answer.job);
      } else {
        const problem = new ServerSays(answer.error || `the server answered ${request.status}`, request.status);
        problem.retrySeconds = Number(request.getResponseHeader("Retry-After")) || 0;
        reject(problem);
      }
    };
    request.onerror = () => reject(new ServerSays("the server cannot be reached; is it still running?", 0));
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    signal?.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/**
 * Send a form and follow its job.
 * @param onstatus hears {state, step, sent, seconds, done, planned}
 * @returns {job, report}: as soon as the report is there; evidence may still be on its way
 */
export async function runJob(path, form, onstatus, signal) {
  let job;
  for (;;) {
    try {
      job = await send(path, form, (sent) => onstatus({ state: "sending", step: "Sending the file", sent }), signal);
      break;
    } catch (problem) {
      if (problem.status !== 503) throw problem;
      onstatus({ state: "waiting", step: "The server is busy; trying again" });
      await pause(1000 * (problem.retrySeconds || 5));
      if (signal?.aborted) throw new DOMException("cancelled", "AbortError");
    }
  }
  return { job, report: await follow(job, onstatus, signal) };
}

/** Follow a job until its report is there. */
export async function follow(job, onstatus, signal) {
  const stop = () => fetch(`/api/jobs/${job}`, { method: "DELETE", headers: headers(), keepalive: true }).catch(() => {});
  if (signal?.aborted) { await stop(); throw new DOMException("cancelled", "AbortError"); }
  signal?.addEventListener("abort", stop);
  try {
    for (;;) {
      const status = await getJson(`/api/jobs/${job}/status`, signal);
      onstatus(status);
      if (!["waiting", "running"].includes(status.state)) break;
      await pause(200);
    }
    return await getJson(`/api/jobs/${job}`, signal);
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}

/** What comes after the verdict: tracks and pictures, handed out as they come. */
export async function followEvidence(job, onevidence) {
  for (;;) {
    const evidence = await getJson(`/api/jobs/${job}/evidence`);
    onevidence(evidence);
    if (evidence.complete) return evidence;
    await pause(400);
  }
}

export function checkFile(file, onstatus, { evidence = false, signal } = {}) {
  const form = new FormData();
  form.append("file", file);
  return runJob(`/api/check${evidence ? "?evidence=true" : ""}`, form, onstatus, signal);
}

export async function checkClip(number, onstatus, signal) {
  const response = await fetch(`/api/catalog/clips/${number}/check`, { method: "POST", headers: headers(), signal });
  if (!response.ok) throw await refused(response);
  const { job } = await response.json();
  return { job, report: await follow(job, onstatus, signal) };
}
