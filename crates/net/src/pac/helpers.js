// What every PAC script may call besides `myIpAddress`, as Netscape defined it in 1996 and MDN describes it
// ("Proxy Auto-Configuration (PAC) file").
function dnsResolve(host) {
  var address = resolve_ipv4(String(host));
  return address === undefined ? null : address;
}
function isPlainHostName(host) { return !/[.:]/.test(host); }
function dnsDomainIs(host, domain) { return String(host).endsWith(domain); }
function localHostOrDomainIs(host, full) { return host === full || String(full).startsWith(host + "."); }
function isResolvable(host) { return dnsResolve(host) !== null; }
function dnsDomainLevels(host) { return String(host).split(".").length - 1; }
function alert() {}

function convert_addr(address) {
  var parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(address);
  if (parts === null || parts.slice(1).some(function (part) { return part > 255; })) return null;
  return ((parts[1] << 24) | (parts[2] << 16) | (parts[3] << 8) | parts[4]) >>> 0;
}

function isInNet(host, pattern, mask) {
  var address = convert_addr(host);
  if (address === null) address = convert_addr(dnsResolve(host));
  pattern = convert_addr(pattern);
  mask = convert_addr(mask);
  return address !== null && pattern !== null && mask !== null && (address & mask) === (pattern & mask);
}

function shExpMatch(text, pattern) {
  pattern = String(pattern).replace(/[.+^${}()|\[\]\\\/]/g, "\\$&").replace(/\*/g, "[^]*").replace(/\?/g, "[^]");
  return new RegExp("^" + pattern + "$").test(text);
}

// The arguments less a closing "GMT", and the time in the zone that this asks for.
function arguments_and_time(given) {
  var values = Array.prototype.slice.call(given), now = new Date();
  var gmt = values[values.length - 1] === "GMT";
  if (gmt) values.pop();
  var of = function (part) { return now[(gmt ? "getUTC" : "get") + part](); };
  return { values: values, of: of };
}

// A range that ends before it begins goes around the end of the week, year or day.
function within(first, value, last) {
  return first <= last ? first <= value && value <= last : first <= value || value <= last;
}

function weekdayRange() {
  var given = arguments_and_time(arguments);
  var days = given.values.map(function (day) { return ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"].indexOf(day); });
  return within(days[0], given.of("Day"), days[days.length - 1]);
}

function dateRange() {
  var given = arguments_and_time(arguments);
  var months = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
  var kind = function (value) { return typeof value === "string" ? "Month" : value > 31 ? "FullYear" : "Date"; };
  var weights = { FullYear: 12 * 32, Month: 32, Date: 1 };
  var sum = function (values) {
    return values.reduce(function (sum, value) {
      return sum + weights[kind(value)] * (typeof value === "string" ? months.indexOf(value) : value);
    }, 0);
  };
  var half = Math.ceil(given.values.length / 2);
  var first = given.values.slice(0, half);
  var last = given.values.length === 1 ? first : given.values.slice(half);
  var now = first.reduce(function (sum, value) { return sum + weights[kind(value)] * given.of(kind(value)); }, 0);
  return within(sum(first), now, sum(last));
}

function timeRange() {
  var given = arguments_and_time(arguments), values = given.values;
  var hour = given.of("Hours");
  if (values.length === 1) return hour === values[0];
  var half = values.length / 2;
  var seconds = function (parts) { return parts[0] * 3600 + (parts[1] || 0) * 60 + (parts[2] || 0); };
  var now = hour * 3600 + given.of("Minutes") * 60 + given.of("Seconds");
  return within(seconds(values.slice(0, half)), now, seconds(values.slice(half)));
}
