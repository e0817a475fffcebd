/** Addresses of views: `#/jobs?state=failed`. All that a view shows can be found again by its address. */

/** An address's parts: the view's name, what follows it, and the query. */
export function parse(hash) {
  const [path, search = ""] = hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/").map(decodeURIComponent);
  const view = name === "jobs" && rest.length ? "job" : name || "jobs";
  return { view, rest, query: new URLSearchParams(search) };
}

/** The address of a view. Query values that are null or "" are left out. */
export function link(path, query = {}) {
  const search = new URLSearchParams();
  for (const [name, value] of query instanceof URLSearchParams ? query : Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") search.append(name, value);
  }
  const tail = search.toString();
  return `#/${path}${tail ? `?${tail}` : ""}`;
}

/** The address of a job's view. */
export function jobLink(id, query) {
  return link(`jobs/${encodeURIComponent(id)}`, query);
}

/** Changes the address without opening the view again: it has shown already what the new address says. */
export function replace(address) {
  history.replaceState(null, "", address);
}

export function go(address) {
  location.hash = address;
}
