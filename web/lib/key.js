/** The API key: in this tab's session alone. No cookie, so there is nothing that another site could make us send. */

const PLACE = "textmill.key";

/** The key, or null. */
export function key() {
  return sessionStorage.getItem(PLACE);
}

export function keep(secret) {
  sessionStorage.setItem(PLACE, secret.trim());
}

export function forget() {
  sessionStorage.removeItem(PLACE);
}

/**
 * Takes the key out of an address that ends in `#key=...` (as `make up` prints it) and cleans the address: a fragment is
 * never sent to a server, and after this it is not in the history either.
 */
export function takeFromAddress() {
  const found = /^#key=(.+)$/.exec(location.hash);
  if (!found) return;
  keep(decodeURIComponent(found[1]));
  history.replaceState(null, "", `${location.pathname}${location.search}#/jobs`);
}
