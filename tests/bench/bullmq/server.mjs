// Fastify and BullMQ in front of Redis, a process for each core: what a Node shop would write.
import cluster from "node:cluster";
import process from "node:process";

import { Queue } from "bullmq";
import Fastify from "fastify";
import { Redis } from "ioredis";

const PROCESSES = 2;
const [port, redisPort] = process.argv.slice(2).map(Number);

if (cluster.isPrimary) {
  for (let n = 0; n < PROCESSES; n += 1) cluster.fork();
  const stop = () => {
    for (const worker of Object.values(cluster.workers)) worker.kill("SIGKILL");
    process.exit(0);
  };
  process.on("SIGTERM", stop);
} else {
  const connection = new Redis(redisPort, "127.0.0.1", {
    maxRetriesPerRequest: null,
    // What one turn of the event loop has gathered goes to Redis in one piece.
    enableAutoPipelining: true,
  });
  const states = new Queue("states", { connection });
  const app = Fastify({ logger: false });

  app.post("/co/state", async (request, reply) => {
    const state = JSON.parse(request.body);
    await states.add("state", state);
    reply.code(202);
    return { status: "accepted" };
  });
  app.get("/readyz", async () => {
    await states.waitUntilReady();
    return { status: "ready" };
  });

  await app.listen({ host: "127.0.0.1", port });
}
