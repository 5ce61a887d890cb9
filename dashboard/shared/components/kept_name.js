// Keeps a person's name in a cookie of this page, for the next visit. Nothing is drawn.

const YEAR = 365 * 24 * 3600; // seconds

export default function ({ data }) {
  document.cookie = `${data.cookie}=${encodeURIComponent(data.name)}; path=/; max-age=${data.name ? YEAR : 0}; samesite=strict`;
}
