-- One state after another, each with an id and from an address of its own, as from so many
-- shoppers: so nginx's budgets hold, and hold nobody up.
local count = 0
local parts = {}

function init(args)
    local run, body = args[1], args[2]
    local headers = { ["Content-Type"] = "text/plain;charset=UTF-8", ["X-Test-Address"] = "@ADDRESS@" }
    -- The whole request is made once, so that wrk has little more to do than to send it.
    local whole = wrk.format("POST", wrk.path, headers, (body:gsub("@ID@", run .. "00000000")))
    local id_at, id_end = whole:find(run .. "00000000", 1, true)
    local address_at, address_end = whole:find("@ADDRESS@", 1, true)
    parts = {
        whole:sub(1, address_at - 1),
        whole:sub(address_end + 1, id_at - 1) .. run,
        whole:sub(id_end + 1),
    }
end

function request()
    count = count + 1
    local address = string.format(
        "10.%d.%d.%d", count / 65536 % 256, count / 256 % 256, count % 256)
    return parts[1] .. address .. parts[2] .. string.format("%08d", count) .. parts[3]
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '\n{"requests": %d, "seconds": %f, "refused": %d, "broken": %d, "p50_ms": %f, "p99_ms": %f}\n',
        summary.requests, summary.duration / 1e6, errors.status,
        errors.connect + errors.read + errors.write + errors.timeout,
        latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
