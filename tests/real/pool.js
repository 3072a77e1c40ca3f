// Sends messages through nodemailer's default pool, all at once, waits until the pool is at rest, and does so again. The
// settings are the first argument, as JSON.
"use strict";

const nodemailer = require("nodemailer");

const settings = JSON.parse(process.argv[2]);
const transport = nodemailer.createTransport({
    pool: true,
    host: "127.0.0.1",
    port: settings.port,
    secure: false,
    auth: { user: settings.login, pass: settings.password },
});

const send = (number) =>
    transport.sendMail({
        from: settings.login,
        to: settings.login,
        subject: `number ${number}.`,
        text: "Dear Alice,\n.\nas above.\n",
    });

const burst = async (first) => {
    const numbers = Array.from({ length: settings.messages }, (_, index) => first + index);
    const results = await Promise.allSettled(numbers.map(send));
    const failed = results.filter((result) => result.status === "rejected").map((result) => String(result.reason));
    if (failed.length > 0) throw new Error(`${failed.length} messages are lost: ${failed[0]}`);
};

const rest = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

(async () => {
    await burst(0);
    await rest(2000);
    await burst(settings.messages);
    transport.close();
})().catch((error) => {
    console.error(error);
    process.exit(1);
});
