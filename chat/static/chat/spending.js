// What the person has spent this month, and what is left of the limit that is nearest its edge (docs/rest.md).

const MICRO = 1_000_000;
const NEAR = 80; // per cent
const WHEN = { Hourly: " this hour", Daily: " today", Monthly: " this month", Total: " in total" };
const WHOSE = { group: " for your group", account: " for your account", all: " for everybody" };
const dollars = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD" });

// Shows it in `line`; nothing is shown that is not known, and to whom nothing was ever charged.
export async function showSpending(line) {
  try {
    const [month, budgets] = await Promise.all([read("api/usage/month/"), read("api/budgets/?limit=1")]);
    const budget = budgets.results[0];
    line.textContent = words(month, budget);
    line.className = budget?.percent >= NEAR ? "near" : "";
    line.hidden = !line.textContent;
  } catch {
    line.hidden = true;
  }
}

async function read(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(response.status);
  return response.json();
}

function words({ microDollars: spent }, budget) {
  const parts = [];
  if (spent) parts.push(`${amount(spent)} this month`);
  if (budget) parts.push(left(budget, spent && budget.limit.period === "Monthly" ? "" : WHEN[budget.limit.period]));
  return parts.join(" · ");
}

function left({ leftMicroDollars, limitMicroDollars, counts }, when) {
  return `${amount(leftMicroDollars)} of ${amount(limitMicroDollars)} left${when}${WHOSE[counts] ?? ""}`;
}

// Down to the cent: what is left is never said to be more than it is.
function amount(microDollars) {
  if (microDollars > 0 && microDollars < MICRO / 100) return "less than $0.01";
  return dollars.format(Math.floor(microDollars / 10_000) / 100);
}
